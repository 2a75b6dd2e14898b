//! An I2C bus outside the guest: devices are Rust models, and every transfer is kept as evidence.
//!
//! The guest's stock driver `i2c-tiny-usb` drives it over USB, so the guest has a real `/dev/i2c-N`. What is proven on
//! it holds for the I2C core and all above; not for a Pi's own bus controller.

mod adapter;
pub mod ds3231;
pub mod oled;

pub(crate) use adapter::listen;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Transfers that a bus remembers, so that a test that never looks does not fill the memory.
const TRANSFERS_MAX: usize = 200_000;

/// A device on the bus.
pub trait I2cDevice: Send {
    /// Takes the bytes of one write message; false when it does not acknowledge.
    fn write(&mut self, bytes: &[u8]) -> bool;

    /// Fills the buffer of one read message; false when it does not acknowledge.
    fn read(&mut self, buffer: &mut [u8]) -> bool;
}

/// One message on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// 7-bit address.
    pub address: u8,
    /// True for a read by the guest.
    pub is_read: bool,
    /// What went over the bus after the address; empty when nobody acknowledged.
    pub bytes: Vec<u8>,
    /// Whether a device acknowledged.
    pub acknowledged: bool,
}

impl Transfer {
    /// Bytes on the wires: the address and what follows.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        1 + self.bytes.len()
    }
}

#[derive(Default)]
struct Inside {
    devices: BTreeMap<u8, Box<dyn I2cDevice>>,
    transfers: Vec<Transfer>,
}

/// A bus; clones are the same bus. Devices may come and go while the guest runs.
#[derive(Clone, Default)]
pub struct I2cBus {
    inside: Arc<Mutex<Inside>>,
}

impl std::fmt::Debug for I2cBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("I2cBus").field("addresses", &self.lock().devices.keys().collect::<Vec<_>>()).finish()
    }
}

impl I2cBus {
    /// Makes an empty bus.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects a device; one that had the address before is gone.
    pub fn plug(&self, address: u8, device: impl I2cDevice + 'static) {
        self.lock().devices.insert(address, Box::new(device));
    }

    /// Pulls a device off: from now on nobody acknowledges its address.
    pub fn unplug(&self, address: u8) {
        self.lock().devices.remove(&address);
    }

    /// Gives all transfers since the start or the last call, and forgets them.
    #[must_use]
    pub fn take_transfers(&self) -> Vec<Transfer> {
        std::mem::take(&mut self.lock().transfers)
    }

    /// Bytes on the wires with one address since the start or the last [`I2cBus::take_transfers`].
    #[must_use]
    pub fn wire_bytes(&self, address: u8) -> usize {
        let inside = self.lock();
        inside.transfers.iter().filter(|t| t.address == address).map(Transfer::wire_bytes).sum()
    }

    fn write(&self, address: u8, bytes: &[u8]) -> bool {
        let mut inside = self.lock();
        let acknowledged = inside.devices.get_mut(&address).is_some_and(|device| device.write(bytes));
        inside.keep(Transfer { address, is_read: false, bytes: bytes.to_vec(), acknowledged });
        acknowledged
    }

    fn read(&self, address: u8, buffer: &mut [u8]) -> bool {
        let mut inside = self.lock();
        let acknowledged = inside.devices.get_mut(&address).is_some_and(|device| device.read(buffer));
        inside.keep(Transfer { address, is_read: true, bytes: buffer.to_vec(), acknowledged });
        acknowledged
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn keep(&mut self, mut transfer: Transfer) {
        if !transfer.acknowledged {
            transfer.bytes.clear();
        }
        if self.transfers.len() < TRANSFERS_MAX {
            self.transfers.push(transfer);
        }
    }
}
