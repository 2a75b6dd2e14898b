//! A data disk that is pulled or full on command.

use std::sync::{Arc, Mutex, PoisonError};

use super::out_of_order;
use crate::{DeviceError, Disk, DiskFacts, DiskKind, Space};

/// A simulated disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    facts: DiskFacts,
    space: Space,
    present: bool,
    full: bool,
}

impl Default for SimDisk {
    /// A USB SSD of 250 GB, a fifth full.
    fn default() -> Self {
        /// 250 GB as makers count.
        const SIZE_BYTES: u64 = 250_000_000_000;
        let facts = DiskFacts {
            name: "sda".to_owned(),
            model: "Simulated SSD".to_owned(),
            kind: DiskKind::UsbSsd,
            size_bytes: SIZE_BYTES,
        };
        Self::new(facts, Space { total_bytes: SIZE_BYTES, free_bytes: SIZE_BYTES / 5 * 4 })
    }
}

impl SimDisk {
    /// Makes a disk that is plugged in.
    #[must_use]
    pub fn new(facts: DiskFacts, space: Space) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { facts, space, present: true, full: false })) }
    }

    /// Pulls the disk.
    pub fn pull(&self) {
        self.lock().present = false;
    }

    /// Plugs it back.
    pub fn plug(&self) {
        self.lock().present = true;
    }

    /// Lets it be full, or have its room again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Tells whether it was made full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lock().full
    }

    /// Sets its room, such as what the host's disk has.
    pub fn set_space(&self, space: Space) {
        self.lock().space = space;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    fn is_present(&self) -> bool {
        self.lock().present
    }

    fn facts(&self) -> Option<DiskFacts> {
        let inner = self.lock();
        inner.present.then(|| inner.facts.clone())
    }

    fn space(&self) -> Result<Space, DeviceError> {
        let inner = self.lock();
        if !inner.present {
            return Err(out_of_order("data disk", "measure its room"));
        }
        let free_bytes = if inner.full { 0 } else { inner.space.free_bytes };
        Ok(Space { free_bytes, ..inner.space })
    }
}
