//! The USB side of the bus: an `i2c-tiny-usb` adapter, as the kernel's driver of that name expects it.
//!
//! Source: drivers/i2c/busses/i2c-tiny-usb.c (ids, requests, flags and states).

use std::{
    os::unix::net::UnixListener,
    path::Path,
    thread::{self, JoinHandle},
};

use super::I2cBus;
use crate::{
    TestbedError,
    usbredir::{ControlDevice, Setup, serve},
};

/// Ids that the driver looks for, and the version that it prints.
const VENDOR: u16 = 0x0403;
const PRODUCT: u16 = 0xc631;
const VERSION: u16 = 0x0205;

/// Requests of the driver, sent as vendor requests.
const CMD_ECHO: u8 = 0;
const CMD_GET_FUNC: u8 = 1;
const CMD_SET_DELAY: u8 = 2;
const CMD_GET_STATUS: u8 = 3;
/// A message; bit 0 asks for a start and bit 1 for a stop, which a model needs not know.
const CMD_IO_FIRST: u8 = 4;
const CMD_IO_LAST: u8 = 7;

/// What the adapter can do: plain I2C and the SMBus commands that can be made of it (I2C_FUNC_I2C,
/// I2C_FUNC_SMBUS_EMUL of the kernel's i2c.h).
const FUNCTIONS: u32 = 0x0eff_0001;

/// States after a message.
const STATUS_IDLE: u8 = 0;
const STATUS_ACKNOWLEDGED: u8 = 1;
const STATUS_NOT_ACKNOWLEDGED: u8 = 2;

/// Request type bits: standard and vendor requests (USB 2.0 table 9-2).
const TYPE_MASK: u8 = 0x60;
const TYPE_STANDARD: u8 = 0x00;
const TYPE_VENDOR: u8 = 0x40;

/// Standard requests and descriptor types (USB 2.0 tables 9-4 and 9-5).
const GET_STATUS: u8 = 0;
const GET_DESCRIPTOR: u8 = 6;
const DESCRIPTOR_DEVICE: u16 = 1;
const DESCRIPTOR_CONFIGURATION: u16 = 2;
const DESCRIPTOR_STRING: u16 = 3;

/// The adapter; it only remembers how the last message went.
#[derive(Debug)]
struct Adapter {
    bus: I2cBus,
    status: u8,
}

/// Waits for QEMU at a socket and serves the bus to it until the machine ends.
pub(crate) fn listen(bus: I2cBus, socket: &Path) -> Result<JoinHandle<()>, TestbedError> {
    let listener = UnixListener::bind(socket).map_err(TestbedError::file("listen at", socket))?;
    Ok(thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut adapter = Adapter { bus, status: STATUS_IDLE };
        if let Err(error) = serve(&mut stream, &mut adapter) {
            tracing::debug!(%error, "the I2C adapter was cut off");
        }
    }))
}

impl ControlDevice for Adapter {
    fn ids(&self) -> [u16; 3] {
        [VENDOR, PRODUCT, VERSION]
    }

    fn control(&mut self, setup: Setup, data: &[u8]) -> Option<Vec<u8>> {
        match setup.request_type & TYPE_MASK {
            TYPE_STANDARD => standard(setup),
            TYPE_VENDOR => self.vendor(setup, data),
            _ => None,
        }
    }
}

impl Adapter {
    fn vendor(&mut self, setup: Setup, data: &[u8]) -> Option<Vec<u8>> {
        match setup.request {
            CMD_ECHO => Some(setup.value.to_le_bytes().to_vec()),
            CMD_GET_FUNC => Some(FUNCTIONS.to_le_bytes().to_vec()),
            CMD_SET_DELAY => Some(Vec::new()),
            CMD_GET_STATUS => Some(vec![self.status]),
            CMD_IO_FIRST..=CMD_IO_LAST => Some(self.message(setup, data)),
            _ => None,
        }
    }

    /// Carries out a message: the address is in `index`, the driver's flags are in `value`.
    fn message(&mut self, setup: Setup, data: &[u8]) -> Vec<u8> {
        let address = u8::try_from(setup.index).unwrap_or(u8::MAX);
        let mut buffer = vec![0; if setup.is_in() { usize::from(setup.length) } else { 0 }];
        let acknowledged =
            if setup.is_in() { self.bus.read(address, &mut buffer) } else { self.bus.write(address, data) };
        self.status = if acknowledged { STATUS_ACKNOWLEDGED } else { STATUS_NOT_ACKNOWLEDGED };
        buffer
    }
}

fn standard(setup: Setup) -> Option<Vec<u8>> {
    match setup.request {
        GET_STATUS => Some(vec![0, 0]),
        GET_DESCRIPTOR => descriptor(setup.value >> 8, setup.value & 0xff),
        _ if setup.is_in() => None,
        _ => Some(Vec::new()),
    }
}

fn descriptor(kind: u16, number: u16) -> Option<Vec<u8>> {
    let [v0, v1] = VENDOR.to_le_bytes();
    let [p0, p1] = PRODUCT.to_le_bytes();
    let [r0, r1] = VERSION.to_le_bytes();
    match kind {
        // USB 1.1, class of the vendor's own, packets of 64 bytes, strings 1 and 2, one configuration.
        DESCRIPTOR_DEVICE => {
            Some(vec![18, 1, 0x10, 0x01, 0xff, 0, 0, 64, v0, v1, p0, p1, r0, r1, 1, 2, 0, 1])
        }
        // One interface without endpoints, powered from the bus, 100 mA.
        DESCRIPTOR_CONFIGURATION => Some(vec![9, 2, 18, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 0, 0xff, 0, 0, 0]),
        DESCRIPTOR_STRING => Some(match number {
            0 => vec![4, 3, 0x09, 0x04],
            1 => text("testbed"),
            _ => text("i2c-tiny-usb"),
        }),
        _ => None,
    }
}

fn text(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut descriptor = vec![u8::try_from(units.len() + 2).unwrap_or(u8::MAX), 3];
    descriptor.extend(units);
    descriptor
}
