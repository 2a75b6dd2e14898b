//! Looks after the data disk: its health, what is written to it each day, its USB bridge, its errors.
//!
//! [`Care`] decides and does no I/O; [`Keeper`] asks the devices and decides nothing. Nothing here formats, moves or
//! mounts: it fills [`DiskCare`] for the pages and says which bridges must leave the fast way.

use control::status::{BridgeState, DiskCare};
use platform::disk::endurance::{WriteLedger, life_left};
use platform::disk::health::{DiskHealth, Health};
use platform::disk::speed::WriteSpeed;
use platform::disk::trim::TrimState;
use platform::disk::{AttachedDisk, UsbDriver};
use platform::usb::{AbortWatch, UsbId};
use platform::{DiskId, KernelEvent, KernelLog, KernelRecord};
use serde::{Deserialize, Serialize};

/// Seconds between two questions about a disk's health. An hour: wear moves in months, and a question may wake a disk.
const HEALTH_EVERY_S: u64 = 3_600;

/// Seconds between two looks at the counter of written bytes.
const COUNTER_EVERY_S: u64 = 60;

/// Records of the kernel's log that are read in one turn, so that a flood of them cannot hold the turn for ever.
const RECORDS_MAX: usize = 500;

/// Bridges that are remembered as failing: more than a box ever meets; the oldest is forgotten.
const CAUGHT_MAX: usize = 8;

/// What is kept over restarts, beside the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CareMemory {
    /// The disk that the rest is about; another disk starts anew.
    disk: DiskId,
    /// What is written each day.
    ledger: WriteLedger,
    /// The measurement of its first use.
    speed: Option<WriteSpeed>,
    /// What the test of TRIM showed.
    trim: TrimState,
    /// Bridges that were caught failing at UAS, whichever disk they served.
    caught: Vec<UsbId>,
}

/// What is known about the data disk, and what follows from it.
#[derive(Clone, Debug, Default)]
pub struct Care {
    memory: CareMemory,
    health: Health,
    aborts: AbortWatch,
    io_errors: u64,
    /// A write failed, or the file system takes no more.
    failing: bool,
}

impl Care {
    /// Begins with what was remembered.
    #[must_use]
    pub fn new(memory: CareMemory) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Gives what is to be remembered.
    #[must_use]
    pub fn memory(&self) -> &CareMemory {
        &self.memory
    }

    /// Takes the data disk as it is plugged in now. Another disk than before starts anew, except for the bridges.
    pub fn meet(&mut self, disk: &AttachedDisk) {
        if self.memory.disk == disk.id {
            return;
        }
        let caught = std::mem::take(&mut self.memory.caught);
        *self = Self::new(CareMemory { disk: disk.id.clone(), caught, ..CareMemory::default() });
    }

    /// Tells whether the disk's speed is yet to be measured.
    #[must_use]
    pub fn wants_speed(&self) -> bool {
        self.memory.speed.is_none()
    }

    /// Takes the measurement.
    pub fn note_speed(&mut self, speed: WriteSpeed) {
        self.memory.speed = Some(speed);
    }

    /// Takes how the disk stands to TRIM.
    pub fn note_trim(&mut self, trim: TrimState) {
        self.memory.trim = trim;
    }

    /// Gives how the disk stands to TRIM, as far as that is known.
    #[must_use]
    pub fn trim(&self) -> TrimState {
        self.memory.trim
    }

    /// Takes what the disk said about its health.
    pub fn note_health(&mut self, health: Health) {
        self.health = health;
    }

    /// Takes the kernel's counter of written bytes. Returns true when the memory is worth saving: once a day.
    pub fn note_written(&mut self, written_bytes: u64, uptime_s: u64) -> bool {
        self.memory.ledger.note(written_bytes, uptime_s)
    }

    /// Takes a record of the kernel's log. Returns true when a bridge was caught just now: save the memory, so that
    /// it is switched to the safe way before the disk is mounted at the next start.
    pub fn note_record(&mut self, record: &KernelRecord, disk: &AttachedDisk) -> bool {
        let is_ours = |device: &str| {
            device == disk.name || disk.partitions.iter().any(|partition| partition.name == device)
        };
        match &record.event {
            Some(KernelEvent::UasAbort { disk: name }) if is_ours(name) => {
                return self.aborts.note(record.at_us) && self.catch(disk);
            }
            Some(KernelEvent::IoError { disk: name, write }) if is_ours(name) => {
                self.io_errors += 1;
                self.failing |= *write == Some(true);
            }
            Some(KernelEvent::FileSystemError { device, read_only }) if is_ours(device) => {
                self.io_errors += 1;
                self.failing |= read_only;
            }
            Some(KernelEvent::NvmeTimeout { controller })
                if disk.name.starts_with(&format!("{controller}n")) =>
            {
                self.io_errors += 1;
            }
            _ => {}
        }
        false
    }

    fn catch(&mut self, disk: &AttachedDisk) -> bool {
        let Some(usb) = &disk.usb else { return false };
        let id = UsbId { vendor: usb.vendor, product: usb.product };
        if self.memory.caught.contains(&id) {
            return false;
        }
        self.memory.caught.push(id);
        let surplus = self.memory.caught.len().saturating_sub(CAUGHT_MAX);
        self.memory.caught.drain(..surplus);
        true
    }

    /// Tells whether a bridge was caught failing at UAS by this box.
    #[must_use]
    pub fn was_caught(&self, id: UsbId) -> bool {
        self.memory.caught.contains(&id)
    }

    /// Tells whether writes to the disk fail.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// Gives the share of the rated life that is used, per cent.
    #[must_use]
    pub fn wear_percent(&self) -> Option<u8> {
        self.health.wear_percent
    }

    /// Sums up for the pages.
    #[must_use]
    pub fn care(&self, disk: &AttachedDisk) -> DiskCare {
        let bytes_per_day = self.memory.ledger.bytes_per_day();
        let bridge = match &disk.usb {
            None => BridgeState::None,
            Some(usb) if usb.driver != UsbDriver::Uas => BridgeState::Safe,
            Some(usb) if self.was_caught(UsbId { vendor: usb.vendor, product: usb.product }) => {
                BridgeState::Failing
            }
            Some(_) => BridgeState::Fast,
        };
        DiskCare {
            life: life_left(disk.kind, disk.id.size_bytes, &self.health, bytes_per_day),
            health: self.health.clone(),
            bytes_per_day,
            speed: self.memory.speed,
            trim: self.memory.trim,
            bridge,
            io_errors: self.io_errors,
        }
    }
}

/// Asks the devices for [`Care`], on a thread of its own: a disk may take seconds to answer.
#[derive(Debug)]
pub struct Keeper {
    health: Box<dyn DiskHealth>,
    /// `None` where the log cannot be read: errors are then seen by who meets them.
    log: Option<Box<dyn KernelLog>>,
    health_asked_s: Option<u64>,
    counted_s: Option<u64>,
}

impl Keeper {
    /// Takes the devices.
    #[must_use]
    pub fn new(health: Box<dyn DiskHealth>, log: Option<Box<dyn KernelLog>>) -> Self {
        Self { health, log, health_asked_s: None, counted_s: None }
    }

    /// Does what is due at `uptime_s`, seconds since boot. Returns true when the memory is worth saving.
    pub fn turn(&mut self, care: &mut Care, disk: &AttachedDisk, uptime_s: u64) -> bool {
        let is_due =
            |last: Option<u64>, every_s| last.is_none_or(|last| uptime_s.saturating_sub(last) >= every_s);
        if care.memory.disk != disk.id {
            care.meet(disk);
            (self.health_asked_s, self.counted_s) = (None, None);
        }
        let mut save = self.read_log(care, disk);
        if is_due(self.counted_s, COUNTER_EVERY_S) {
            self.counted_s = Some(uptime_s);
            let written = self.health.written_bytes(disk);
            save |= written.is_some_and(|written| care.note_written(written, uptime_s));
        }
        if is_due(self.health_asked_s, HEALTH_EVERY_S) {
            self.health_asked_s = Some(uptime_s);
            match self.health.health(disk) {
                Ok(health) => care.note_health(health),
                Err(error) => tracing::warn!(%error, disk = %disk.name, "the disk does not tell its health"),
            }
        }
        save
    }

    fn read_log(&mut self, care: &mut Care, disk: &AttachedDisk) -> bool {
        let Some(log) = &mut self.log else { return false };
        let mut save = false;
        for _ in 0..RECORDS_MAX {
            match log.next(std::time::Duration::ZERO) {
                Ok(Some(record)) => save |= care.note_record(&record, disk),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the kernel's log is not read any more");
                    self.log = None;
                    break;
                }
            }
        }
        save
    }
}

#[cfg(test)]
pub(crate) mod tests;
