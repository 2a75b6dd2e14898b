//! What becomes of a disk's word on the pages, and what is switched and remembered, with devices that a test holds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use control::users::Users;
use platform::disk::health::Health;
use platform::disk::speed::WriteSpeed;
use platform::disk::trim::UnmapPages;
use platform::disk::{UsbDriver, UsbLink};
use platform::{KernelEvent, KernelRecord, MachineReading};

use super::*;
use crate::care::tests::ssd;
use crate::supervise::data;

/// A disk behind a USB bridge that promises TRIM, and a machine that is hot. Clones are one.
#[derive(Clone, Debug, Default)]
struct World {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    disks: Vec<AttachedDisk>,
    discards: bool,
    result: Option<ScratchResult>,
    done: Vec<String>,
    log: VecDeque<KernelRecord>,
    quirks: String,
    uptime_s: u64,
}

impl World {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn take_done(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().done)
    }

    fn hands(&self) -> Hands {
        let clock = self.clone();
        Hands {
            machine: Box::new(self.clone()),
            disks: Box::new(self.clone()),
            health: Box::new(self.clone()),
            log: Some(Box::new(self.clone())),
            speed: Box::new(self.clone()),
            trim: Box::new(self.clone()),
            space: Box::new(|_| Some(Space { total_bytes: 100, free_bytes: LOW_BYTES - 1 })),
            is_ours: true,
            uptime_s: Box::new(move || clock.lock().uptime_s),
        }
    }
}

impl Machine for World {
    fn read(&self) -> MachineReading {
        MachineReading {
            temperature_mc: Some(81_000),
            slowed_by_heat: Some(true),
            ..MachineReading::default()
        }
    }
}

impl Disks for World {
    fn list(&self) -> Result<Vec<AttachedDisk>, DeviceError> {
        Ok(self.lock().disks.clone())
    }
}

impl DiskHealth for World {
    fn health(&self, _: &AttachedDisk) -> Result<Health, DeviceError> {
        Ok(Health { wear_percent: Some(93), ..Health::default() })
    }
    fn written_bytes(&self, _: &AttachedDisk) -> Option<u64> {
        Some(0)
    }
}

impl KernelLog for World {
    fn next(&mut self, _: Duration) -> Result<Option<KernelRecord>, DeviceError> {
        Ok(self.lock().log.pop_front())
    }
}

impl SpeedTest for World {
    fn measure(&self, _: &Path) -> Result<WriteSpeed, DeviceError> {
        self.lock().done.push("measure".to_owned());
        Ok(WriteSpeed { writes: 10, median_us: 2_000, worst_us: 3_000 })
    }
}

impl Trimmer for World {
    fn kernel_discards(&self, _: &AttachedDisk) -> bool {
        self.lock().discards
    }
    fn pages(&self, _: &AttachedDisk) -> Option<UnmapPages> {
        Some(UnmapPages { unmaps: true, reads_zero: true, blocks_max: 1_000 })
    }
    fn set_unmap(&self, _: &AttachedDisk, on: bool) -> Result<(), DeviceError> {
        let mut inner = self.lock();
        inner.discards = on;
        inner.done.push(format!("unmap {on}"));
        Ok(())
    }
    fn trim(&self, _: &Path) -> Result<u64, DeviceError> {
        self.lock().done.push("trim".to_owned());
        Ok(0)
    }
    fn test(&self, _: &Path, node: &Path) -> Result<ScratchResult, DeviceError> {
        let mut inner = self.lock();
        inner.done.push(format!("test {}", node.display()));
        Ok(inner.result.unwrap())
    }
}

impl UsbSwitch for World {
    fn quirks(&self) -> String {
        self.lock().quirks.clone()
    }
    fn apply(&self, plan: &QuirkPlan) -> Result<(), DeviceError> {
        let mut inner = self.lock();
        inner.quirks = plan.parameter.clone().unwrap_or_default();
        inner.done.push(format!("plug {:?} anew", plan.rebind));
        Ok(())
    }
}

/// A world with its data on the disk, and what looks after it.
fn started(result: ScratchResult, folder: &Path) -> (World, Upkeep, OwnStatus, NoteBook, DataDoor) {
    let world = World::default();
    let mut disk = ssd("A");
    disk.partitions[0].mounted_at.push(folder.to_owned());
    world.lock().disks = vec![disk];
    world.lock().result = Some(result);
    let own = OwnStatus::default();
    let door = data::elsewhere(folder, Users::default(), &own).door;
    let notes = NoteBook::new(folder.join("notes"), None, Box::new(|_, _| Ok(())));
    let upkeep = Upkeep::new(world.hands(), door.clone(), own.clone(), notes.clone());
    (world, upkeep, own, notes, door)
}

#[test]
fn the_pages_hear_of_heat_wear_and_room_and_the_disk_is_measured_once() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut upkeep, own, notes, door) = started(ScratchResult::Cleared, folder.path());
    upkeep.turn();
    let status = own.get();
    assert_eq!((status.system.temperature_mc, status.system.slowed_by_heat), (Some(81_000), Some(true)));
    let storage = status.storage.unwrap();
    assert_eq!((storage.wear_percent, storage.state), (Some(93), StorageState::Low));
    assert!(world.take_done().is_empty(), "a start is left in peace");
    world.lock().uptime_s = MEASURE_AFTER_S;
    upkeep.turn();
    assert_eq!(world.take_done(), ["unmap true", "test /dev/sda1", "measure", "trim"]);
    let care = own.get().storage.unwrap().care;
    assert_eq!((care.trim, care.speed.unwrap().median_us), (TrimState::On, 2_000));
    world.lock().uptime_s += TRIM_EVERY_S;
    upkeep.turn();
    assert_eq!(world.take_done(), ["trim"], "weekly");
    // The next start: the bridge's switch is off again, and nothing is measured twice.
    world.lock().discards = false;
    let mut next = Upkeep::new(world.hands(), door, own.clone(), notes);
    next.turn();
    world.lock().uptime_s += MEASURE_AFTER_S;
    next.turn();
    assert_eq!(world.take_done(), ["unmap true", "trim"]);
    assert_eq!(own.get().storage.unwrap().care.trim, TrimState::On);
}

#[test]
fn a_bridge_that_damages_data_at_trim_is_switched_off_and_never_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut upkeep, own, notes, door) = started(ScratchResult::Damaged, folder.path());
    upkeep.turn();
    world.lock().uptime_s = MEASURE_AFTER_S;
    upkeep.turn();
    assert_eq!(world.take_done(), ["unmap true", "test /dev/sda1", "unmap false", "measure"]);
    assert_eq!(own.get().storage.unwrap().care.trim, TrimState::Harmful);
    let mut next = Upkeep::new(world.hands(), door, own, notes);
    next.turn();
    world.lock().uptime_s += MEASURE_AFTER_S;
    next.turn();
    assert!(world.take_done().is_empty());
}

#[test]
fn a_caught_bridge_leaves_the_fast_way_before_its_disk_is_used_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut upkeep, _, notes, _) = started(ScratchResult::Cleared, folder.path());
    for at_us in [10_000_000, 45_000_000, 80_000_000] {
        let event = Some(KernelEvent::UasAbort { disk: "sda".to_owned() });
        world.lock().log.push_back(KernelRecord { at_us, event });
    }
    upkeep.turn();
    assert!(notes.is_failing(UsbId { vendor: 0x1234, product: 0x5678 }));
    let mut look = keep_from_uas(UasQuirks::default(), notes, Box::new(world.clone()));
    let fresh = [ssd("A")];
    assert!(look(&fresh));
    assert_eq!(world.take_done(), ["plug [\"2-1\"] anew"]);
    assert_eq!(world.lock().quirks, "1234:5678:u");
    assert!(!look(&fresh), "a bridge that stays is not plugged anew for ever");
    let mut safe = ssd("A");
    safe.usb = safe.usb.map(|usb| UsbLink { driver: UsbDriver::UsbStorage, ..usb });
    assert!(!look(&[safe]));
}

#[test]
fn a_disk_that_is_waited_for_is_told_as_pulled() {
    let folder = tempfile::tempdir().unwrap();
    let (_world, mut upkeep, own, notes, _) = started(ScratchResult::Cleared, folder.path());
    upkeep.turn();
    let mut away = Upkeep::new(World::default().hands(), DataDoor::default(), own.clone(), notes);
    away.turn();
    assert!(own.get().storage.unwrap().present, "unmounted for a moment is not pulled");
    let data = Placement::Held { title: "DISK WAS PULLED".to_owned(), why: String::new() };
    own.change(|status| status.placement.get_or_insert_default().data = data);
    away.turn();
    assert_eq!(own.get().storage.unwrap().state, StorageState::Pulled);
}

#[test]
fn the_built_in_list_of_bridges_reads() {
    assert!(listed_bridges().about(UsbId::parse("174c:55aa").unwrap()).is_some());
}
