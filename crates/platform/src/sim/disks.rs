//! The disks of a simulated machine, plugged and pulled on command.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{AttachedDisk, DeviceError, Disks};

/// Simulated disks; clones are the same machine.
#[derive(Clone, Debug, Default)]
pub struct SimDisks {
    attached: Arc<Mutex<Vec<AttachedDisk>>>,
}

impl SimDisks {
    /// Makes a machine with these disks plugged in.
    #[must_use]
    pub fn new(attached: Vec<AttachedDisk>) -> Self {
        Self { attached: Arc::new(Mutex::new(attached)) }
    }

    /// Plugs a disk in; one of the same name gives way.
    pub fn plug(&self, disk: AttachedDisk) {
        let mut attached = self.lock();
        attached.retain(|other| other.name != disk.name);
        attached.push(disk);
        attached.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Pulls the disk of this kernel name and gives it back.
    pub fn pull(&self, name: &str) -> Option<AttachedDisk> {
        let mut attached = self.lock();
        let at = attached.iter().position(|disk| disk.name == name)?;
        Some(attached.remove(at))
    }

    /// Changes the disk of this kernel name, such as what is on it.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut AttachedDisk)) {
        if let Some(disk) = self.lock().iter_mut().find(|disk| disk.name == name) {
            change(disk);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<AttachedDisk>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disks for SimDisks {
    fn list(&self) -> Result<Vec<AttachedDisk>, DeviceError> {
        Ok(self.lock().clone())
    }
}
