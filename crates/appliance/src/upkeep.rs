//! Looks after the machine and its data disk: warmth, power, room, health, wear, speed, TRIM, failing USB bridges.
//!
//! A thread of its own, since a disk may take seconds to answer. It asks devices, lets [`crate::care`] and the rules of
//! `platform` judge, and fills the status; what it writes to the data it writes through the [`DataDoor`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control::placement::Placement;
use control::status::{StorageState, StorageStatus};
use platform::disk::health::DiskHealth;
use platform::disk::speed::SpeedTest;
use platform::disk::trim::{ScratchResult, TrimFacts, TrimState, TrimStep, Trimmer, decide};
use platform::usb::{QuirkPlan, UasQuirks, UsbId, UsbSwitch, plan_quirks};
use platform::{AttachedDisk, DeviceError, DiskKind, Disks, KernelLog, Machine, Space};

use crate::care::{Care, CareMemory, Keeper};
use crate::gather::OwnStatus;
use crate::notes::NoteBook;
use crate::supervise::data::DataDoor;

/// Time between two looks: soon enough for a page, rare enough to cost nothing.
const LOOK: Duration = Duration::from_secs(10);

/// How often the end is looked for.
const END_LOOK: Duration = Duration::from_millis(500);

/// Seconds that the data is in use before its disk is measured: the start of the PDS is over then, and measures nothing
/// but itself.
const MEASURE_AFTER_S: u64 = 60;

/// Seconds between two rounds of TRIM: a week, as distributions do.
const TRIM_EVERY_S: u64 = 7 * 86_400;

/// Steps that deciding about TRIM may take: switch on, test, switch off.
const TRIM_STEPS_MAX: usize = 4;

/// Room below which pages warn, bytes: weeks of posting remain.
pub const LOW_BYTES: u64 = 1_000_000_000;

/// Room below which the store refuses writes (the default of its limits), bytes.
pub const FULL_BYTES: u64 = 64 * 1024 * 1024;

/// What is remembered of the disk, beside the data.
const MEMORY_FILE: &str = "appliance/care.json";

/// How much is left, for the pages.
#[must_use]
pub fn state_of(present: bool, failing: bool, free_bytes: u64) -> StorageState {
    match free_bytes {
        _ if !present => StorageState::Pulled,
        _ if failing => StorageState::Failing,
        free if free < FULL_BYTES => StorageState::Full,
        free if free < LOW_BYTES => StorageState::Low,
        _ => StorageState::Ok,
    }
}

/// The list of bridges that fail at UAS, as it was built in: it is there before any file system is.
#[must_use]
pub fn listed_bridges() -> UasQuirks {
    UasQuirks::parse(include_str!("../../../board/uas-quirks.toml")).unwrap_or_default()
}

/// Makes what looks at each new list of disks first: bridges that are listed or were caught leave the fast way before
/// the disk behind them is used. It tells whether disks were plugged anew by that.
pub fn keep_from_uas(
    listed: UasQuirks,
    notes: NoteBook,
    switch: Box<dyn UsbSwitch>,
) -> impl FnMut(&[AttachedDisk]) -> bool + Send {
    // A port whose bridge stays on the fast way all the same is left alone: it would be plugged anew for ever.
    let mut tried: Vec<String> = Vec::new();
    move |disks| {
        let is_failing = |id: UsbId| listed.about(id).is_some() || notes.is_failing(id);
        let mut plan = plan_quirks(disks, is_failing, &switch.quirks());
        plan.rebind.retain(|port| !tried.contains(port));
        if plan.parameter.is_none() && plan.rebind.is_empty() {
            return false;
        }
        tried.extend(plan.rebind.iter().cloned());
        let QuirkPlan { rebind, later, .. } = &plan;
        tracing::info!(?rebind, ?later, "USB bridges leave the fast way (UAS)");
        if let Err(error) = switch.apply(&plan) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a USB bridge stays on the fast way");
        }
        !rebind.is_empty()
    }
}

/// Tells the room on a folder's file system.
pub type SpaceOf = Box<dyn Fn(&Path) -> Option<Space> + Send>;

/// The devices.
pub struct Hands {
    /// Warmth and supply.
    pub machine: Box<dyn Machine>,
    /// The list of disks.
    pub disks: Box<dyn Disks>,
    /// Health and what is written.
    pub health: Box<dyn DiskHealth>,
    /// Errors, where the log can be read.
    pub log: Option<Box<dyn KernelLog>>,
    /// The measurement of a disk's first use.
    pub speed: Box<dyn SpeedTest>,
    /// TRIM.
    pub trim: Box<dyn Trimmer>,
    /// The room on a folder's file system.
    pub space: SpaceOf,
    /// Whether the disk is ours to measure, test and trim; elsewhere it is only looked at.
    pub is_ours: bool,
    /// Seconds since the machine's start.
    pub uptime_s: Box<dyn Fn() -> u64 + Send>,
}

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("disks", &self.disks).finish_non_exhaustive()
    }
}

/// The disk that holds the data now.
#[derive(Debug)]
struct DataDisk {
    disk: AttachedDisk,
    /// The node of the file system.
    node: PathBuf,
}

/// The part that looks after things.
pub struct Upkeep {
    machine: Box<dyn Machine>,
    disks: Box<dyn Disks>,
    speed: Box<dyn SpeedTest>,
    trim: Box<dyn Trimmer>,
    space: SpaceOf,
    is_ours: bool,
    uptime_s: Box<dyn Fn() -> u64 + Send>,
    keeper: Keeper,
    care: Care,
    door: DataDoor,
    own: OwnStatus,
    notes: NoteBook,
    /// Which opening of the door the disk was found for, and when.
    opening: Option<(u64, u64)>,
    disk: Option<DataDisk>,
    trim_known: bool,
    trimmed_s: Option<u64>,
}

impl std::fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upkeep").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl Upkeep {
    /// Takes the devices, the way to the data, and where the status and the notes go.
    #[must_use]
    pub fn new(hands: Hands, door: DataDoor, own: OwnStatus, notes: NoteBook) -> Self {
        let Hands { machine, disks, health, log, speed, trim, space, is_ours, uptime_s } = hands;
        Self {
            machine,
            disks,
            speed,
            trim,
            space,
            is_ours,
            uptime_s,
            keeper: Keeper::new(health, log),
            care: Care::default(),
            door,
            own,
            notes,
            opening: None,
            disk: None,
            trim_known: false,
            trimmed_s: None,
        }
    }

    /// Looks after things until `stop` is set. Blocks: for a thread of its own.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.turn();
            let mut waited = Duration::ZERO;
            while waited < LOOK && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(END_LOOK);
                waited += END_LOOK;
            }
        }
    }

    /// Looks once.
    pub fn turn(&mut self) {
        let reading = self.machine.read();
        self.own.change(|status| {
            let system = &mut status.system;
            system.temperature_mc = reading.temperature_mc;
            system.undervoltage = reading.undervoltage;
            system.was_undervoltage = reading.was_undervoltage;
            system.slowed_by_heat = reading.slowed_by_heat;
        });
        let Some((opening, folder)) = self.door.opening() else { return self.data_is_away() };
        let now_s = (self.uptime_s)();
        if self.opening.map(|(number, _)| number) != Some(opening) {
            self.opening = Some((opening, now_s));
            self.meet(&folder);
        }
        self.look_after_disk(now_s);
        self.tell(&folder);
    }

    /// Finds the disk that the data is on, and what is remembered of it.
    fn meet(&mut self, folder: &Path) {
        self.trim_known = false;
        let listed = self.disks.list().unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "no list of disks");
            Vec::new()
        });
        self.disk = disk_of(listed, folder);
        let memory = self.door.enter(|folder| control::file::read::<CareMemory>(&folder.join(MEMORY_FILE)));
        match memory {
            Some(Ok(memory)) => self.care = Care::new(memory.unwrap_or_default()),
            Some(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what was known of the disk is lost"
                );
                self.care = Care::default();
            }
            None => {}
        }
        if let Some(DataDisk { disk, .. }) = &self.disk {
            self.care.meet(disk);
        }
    }

    fn look_after_disk(&mut self, now_s: u64) {
        let Some(DataDisk { disk, node }) = &self.disk else { return };
        let mut save = self.keeper.turn(&mut self.care, disk, now_s);
        if let Some(usb) = &disk.usb {
            let id = UsbId { vendor: usb.vendor, product: usb.product };
            if self.care.was_caught(id) {
                self.notes.note_failing(id);
            }
        }
        let settled = self.is_ours
            && self.opening.is_some_and(|(_, since_s)| now_s.saturating_sub(since_s) >= MEASURE_AFTER_S);
        if settled && !self.trim_known {
            // Once for each time that the disk is plugged in: the kernel's switch is as new then.
            self.trim_known = true;
            let state = see_to_trim(&*self.trim, &self.door, disk, node, self.care.trim());
            save |= state != self.care.trim();
            self.care.note_trim(state);
        }
        if settled && self.care.wants_speed() {
            match self.door.enter(|folder| self.speed.measure(folder)) {
                Some(Ok(speed)) => {
                    self.care.note_speed(speed);
                    save = true;
                }
                Some(Err(error)) => complain(&error, "the disk's speed is not measured"),
                None => {}
            }
        }
        let due = self.trimmed_s.is_none_or(|last| now_s.saturating_sub(last) >= TRIM_EVERY_S);
        if settled && self.care.trim() == TrimState::On && due {
            self.trimmed_s = Some(now_s);
            if let Some(Err(error)) = self.door.enter(|folder| self.trim.trim(folder)) {
                complain(&error, "the disk is not told which blocks are free");
            }
        }
        if save {
            let memory = self.care.memory();
            let saved = self.door.enter(|folder| control::file::replace(&folder.join(MEMORY_FILE), memory));
            if let Some(Err(error)) = saved {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what is known of the disk is not kept"
                );
            }
        }
    }

    fn tell(&self, folder: &Path) {
        let space = (self.space)(folder).unwrap_or(Space { total_bytes: 0, free_bytes: 0 });
        let disk = self.disk.as_ref().map(|data| &data.disk);
        let kind = disk.map_or(DiskKind::Other, |disk| disk.kind);
        let model = disk.map(|disk| disk.id.model.clone()).filter(|model| !model.is_empty());
        let storage = StorageStatus {
            disk: model.unwrap_or_else(|| kind.label().to_owned()),
            kind,
            present: true,
            state: state_of(true, self.care.is_failing(), space.free_bytes),
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
            wear_percent: self.care.wear_percent(),
            care: disk.map(|disk| self.care.care(disk)).unwrap_or_default(),
        };
        self.own.change(|status| status.storage = Some(storage));
    }

    /// The data is not to be used: while its disk is waited for, its last state is told as such.
    fn data_is_away(&mut self) {
        self.opening = None;
        self.own.change(|status| {
            let held =
                status.placement.as_ref().is_some_and(|placed| matches!(placed.data, Placement::Held { .. }));
            if let Some(storage) = status.storage.as_mut().filter(|_| held) {
                (storage.present, storage.state) = (false, StorageState::Pulled);
            }
        });
    }
}

/// The disk whose mounted place is nearest above the folder.
fn disk_of(listed: Vec<AttachedDisk>, folder: &Path) -> Option<DataDisk> {
    let mut best: Option<(usize, DataDisk)> = None;
    for disk in listed {
        let partitions = disk.partitions.iter().map(|partition| (&partition.node, &partition.mounted_at));
        let places = partitions.chain(std::iter::once((&disk.node, &disk.mounted_at)));
        let above = places.flat_map(|(node, places)| {
            let above = places.iter().filter(|place| folder.starts_with(place));
            above.map(move |place| (place.components().count(), node.clone()))
        });
        let Some((depth, node)) = above.max_by_key(|(depth, _)| *depth) else { continue };
        if best.as_ref().is_none_or(|(deepest, _)| depth > *deepest) {
            best = Some((depth, DataDisk { disk, node }));
        }
    }
    best.map(|(_, found)| found)
}

/// Brings TRIM to where the rules want it. What was found before is not tested again, only switched again.
fn see_to_trim(
    trim: &dyn Trimmer,
    door: &DataDoor,
    disk: &AttachedDisk,
    node: &Path,
    known: TrimState,
) -> TrimState {
    let mut scratch = match known {
        TrimState::On if disk.usb.is_some() => Some(ScratchResult::Cleared),
        TrimState::NotProven => Some(ScratchResult::Unchanged),
        TrimState::Harmful => Some(ScratchResult::Damaged),
        _ => None,
    };
    let pages = disk.usb.as_ref().and_then(|_| trim.pages(disk));
    let mut switched_on = false;
    for _ in 0..TRIM_STEPS_MAX {
        let kernel_discards = trim.kernel_discards(disk);
        // A disk that was proven and is plugged in anew has its switch off.
        let proven = scratch == Some(ScratchResult::Cleared) && !switched_on;
        let asked = if proven && !kernel_discards { None } else { scratch };
        let facts = TrimFacts { over_usb: disk.usb.is_some(), kernel_discards, pages, scratch: asked };
        match decide(facts) {
            TrimStep::Rest(state) => return state,
            TrimStep::SwitchOn if switched_on => return TrimState::NotOffered,
            TrimStep::SwitchOn => {
                switched_on = true;
                if let Err(error) = trim.set_unmap(disk, true) {
                    complain(&error, "TRIM stays off");
                    return TrimState::NotOffered;
                }
            }
            TrimStep::Test => match door.enter(|folder| trim.test(folder, node)) {
                Some(Ok(result)) => scratch = Some(result),
                Some(Err(error)) => {
                    complain(&error, "TRIM is not tested");
                    return switch_off(trim, disk, TrimState::Unknown);
                }
                None => return switch_off(trim, disk, TrimState::Unknown),
            },
            TrimStep::SwitchOff(state) => return switch_off(trim, disk, state),
        }
    }
    TrimState::Unknown
}

fn switch_off(trim: &dyn Trimmer, disk: &AttachedDisk, state: TrimState) -> TrimState {
    if let Err(error) = trim.set_unmap(disk, false) {
        complain(&error, "TRIM is not switched off");
    }
    state
}

fn complain(error: &DeviceError, what: &str) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
}

#[cfg(test)]
mod tests;
