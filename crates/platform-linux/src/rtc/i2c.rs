//! Registers of one device on an I2C bus, through `/dev/i2c-N`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::ds3231::Registers;

/// Longest transfer, bytes: a register and the seven of the time.
const WRITE_BYTES_MAX: usize = 8;

/// Combined transfer (`linux/i2c-dev.h`). Unlike I2C_SLAVE it needs no I2C_SLAVE_FORCE where a driver holds the address,
/// and what it transfers in one call no driver can interrupt.
const I2C_RDWR: u16 = 0x0707;

/// Flag of a message that reads (`linux/i2c.h`).
const I2C_M_RD: u16 = 1;

/// `struct i2c_msg`.
#[repr(C)]
struct Message {
    address: u16,
    flags: u16,
    bytes: u16,
    buffer: *mut u8,
}

/// `struct i2c_rdwr_ioctl_data`.
#[repr(C)]
struct Transfer {
    messages: *mut Message,
    count: u32,
}

/// A device on a bus. The bus is opened for each transfer: an adapter on USB may go and come back.
#[derive(Clone, Debug)]
pub(crate) struct I2cRegisters {
    bus: PathBuf,
    address: u16,
}

impl I2cRegisters {
    pub(crate) fn new(bus: &Path, address: u8) -> Self {
        Self { bus: bus.to_owned(), address: u16::from(address) }
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.bus)
    }

    fn message(&self, flags: u16, buffer: &mut [u8]) -> io::Result<Message> {
        let bytes = u16::try_from(buffer.len()).map_err(io::Error::other)?;
        Ok(Message { address: self.address, flags, bytes, buffer: buffer.as_mut_ptr() })
    }
}

#[expect(unsafe_code, reason = "the ioctl has no safe wrapper")]
fn transfer(bus: &File, messages: &mut [Message]) -> io::Result<()> {
    let count = u32::try_from(messages.len()).map_err(io::Error::other)?;
    let mut request = Transfer { messages: messages.as_mut_ptr(), count };
    // SAFETY: the file is open; `request` and the messages have the kernel's layout and outlive the call; each message
    // points to a buffer of its stated length that its maker borrows mutably until after the call.
    let done = unsafe { libc::ioctl(bus.as_raw_fd(), I2C_RDWR.into(), &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Registers for I2cRegisters {
    fn read(&mut self, from: u8, into: &mut [u8]) -> io::Result<()> {
        let bus = self.open()?;
        let mut register = [from];
        let mut messages = [self.message(0, &mut register)?, self.message(I2C_M_RD, into)?];
        transfer(&bus, &mut messages)
    }

    fn write(&mut self, from: u8, values: &[u8]) -> io::Result<()> {
        let bus = self.open()?;
        let mut bytes = [0; WRITE_BYTES_MAX];
        let (register, rest) = bytes.split_at_mut(1);
        register.fill(from);
        let room = rest.get_mut(..values.len()).ok_or(io::ErrorKind::InvalidInput)?;
        room.copy_from_slice(values);
        let whole = bytes.get_mut(..=values.len()).ok_or(io::ErrorKind::InvalidInput)?;
        transfer(&bus, &mut [self.message(0, whole)?])
    }
}
