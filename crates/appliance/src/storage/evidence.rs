//! What the storage policy knows, and what it may order: values only.

use std::collections::BTreeMap;

use platform::volumes::{CheckResult, SeenDisk, VolumeId};

use super::identity::{ApplianceId, Identity, Place};

/// Everything that a decision rests on.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The disks, as they were looked at last.
    pub disks: Vec<SeenDisk>,
    /// What is mounted where the services find the data.
    pub live: Option<Live>,
    /// What was done and answered since the start of the program; a restart forgets it, and must be able to.
    pub session: Session,
}

/// The data as it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its file system.
    pub volume: VolumeId,
    /// Its generation.
    pub generation: u64,
    /// Its disk in words, for the page that asks for it when it is gone.
    pub disk: String,
    /// The plugging-in that it was mounted from: after another one the mount is dead.
    pub attached: Option<u64>,
    /// How much of it is taken, bytes; `None` when it was not measured.
    pub used_bytes: Option<u64>,
}

/// What happened since the start of the program.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// File systems that were checked and not written by anybody else since.
    pub checked: BTreeMap<VolumeId, CheckResult>,
    /// True when the boot disk has ids of its own, and its place for data a file system.
    pub boot_prepared: bool,
    /// A copy that was compared with its source, and nobody wrote since: source and copy.
    pub copied: Option<(VolumeId, VolumeId)>,
    /// True when nobody writes to the data.
    pub writers_stopped: bool,
    /// Where the word about larger sequence numbers lies.
    pub jump_noted: Option<VolumeId>,
    /// The data disk that vanished while it was in use: until it is back nothing takes its place.
    pub pulled: Option<Live>,
    /// Questions that presence answered with yes.
    pub yes: Vec<Question>,
    /// Questions that were declined, or that nobody answered in their time.
    pub no: Vec<Question>,
    /// Orders that failed, with the reason. They are not given again until a disk comes or goes, or a while passed.
    pub failed: Vec<(Action, String)>,
}

/// Bounds of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Smallest disk that data is moved to, bytes.
    ///
    /// 7 GB: the smallest SSDs on sale have 16, and a smaller disk is more likely a reader's own memory or an installer
    /// that shows itself as a disk.
    pub target_bytes_min: u64,
    /// Room that must be left on a disk when the data has moved there, bytes.
    ///
    /// 1 GB: sixteen times what the PDS keeps free, and at 20 KB a post a hundred posts a day for more than a year. A
    /// disk that is full as soon as the data is there helps nobody.
    pub target_free_bytes_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { target_bytes_min: 7_000_000_000, target_free_bytes_min: 1_000_000_000 }
    }
}

/// What only somebody who stands before the box may decide. An answer counts for the very disk it was asked about:
/// the question holds all that was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Erase this disk and move the data to it?
    UseDisk {
        /// The disk as it was seen.
        disk: SeenDisk,
        /// What is on it; `None` when it is empty.
        contents: Option<String>,
        /// False for the first question, true for "really?". An empty disk has no second one.
        sure: bool,
    },
    /// Run the data that was found on this disk?
    Adopt {
        /// The disk as it was seen.
        disk: SeenDisk,
    },
    /// Go on with an older copy, and lose what was written since?
    GiveUp {
        /// The copy that is missing.
        missing: Place,
        /// The copy to go on with.
        keep: VolumeId,
        /// Its disk, in words.
        keep_disk: String,
        /// False for the first question, true for "really?".
        sure: bool,
    },
    /// Begin with an empty store, although an older copy was found whose newer one is missing?
    BeginNew {
        /// The copy that is missing.
        missing: Place,
    },
    /// Mend this file system, which may cost files?
    Repair {
        /// The file system.
        volume: VolumeId,
        /// Its disk, in words.
        disk: String,
    },
}

/// One order to the hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// End everything that writes to the data.
    StopWriters,
    /// Give the boot disk ids of its own and its place for data all room and a file system.
    PrepareBoot {
        /// The boot disk as it was seen.
        disk: SeenDisk,
    },
    /// Make a box's first mark: this place holds the data of a new box.
    Found {
        /// The place.
        volume: VolumeId,
    },
    /// Replace the mark of a place.
    Mark {
        /// The place.
        volume: VolumeId,
        /// The new mark.
        identity: Identity,
    },
    /// Check a file system.
    Check {
        /// The file system.
        volume: VolumeId,
        /// Mend everything, whatever it costs.
        repair: bool,
    },
    /// Mount the data.
    Mount {
        /// The file system.
        volume: VolumeId,
    },
    /// Unmount the data.
    Unmount {
        /// True when its disk is gone.
        torn_off: bool,
    },
    /// Leave word that others may have seen larger sequence numbers.
    NoteJump {
        /// The place.
        volume: VolumeId,
    },
    /// Erase a disk and make it a place that receives the data.
    Provision {
        /// The disk as it was consented to.
        disk: SeenDisk,
        /// The box.
        appliance: ApplianceId,
        /// The generation of the new copy.
        generation: u64,
        /// Where the data will come from.
        from: Place,
    },
    /// Copy the data and compare every byte.
    Copy {
        /// The living copy, mounted.
        from: VolumeId,
        /// The receiving one.
        to: VolumeId,
    },
}

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataState {
    /// It is being looked for, checked, mounted.
    Starting,
    /// It is mounted; services may write.
    Live {
        /// Its disk, in words.
        disk: String,
    },
    /// It moves; nobody writes.
    Moving {
        /// The new disk, in words.
        to: String,
    },
    /// It is not available, and nothing takes its place.
    Held(Held),
}

/// Why the data is not available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The newest copy is on a disk that is not there.
    Missing {
        /// That disk, in words.
        disk: String,
    },
    /// The disk was pulled while it was in use.
    Pulled {
        /// That disk, in words.
        disk: String,
    },
    /// A new card in a box whose data is on another disk: the owner is asked.
    FoundData {
        /// That disk, in words.
        disk: String,
    },
    /// Two disks hold the same copy.
    Alike {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// Two disks hold the data of two boxes, and nothing says which box this is.
    TwoBoxes {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// Two disks may be the one that the machine was started from.
    TwoBootDisks {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// The file system is damaged.
    Damaged {
        /// The disk, in words.
        disk: String,
    },
    /// The place for the data cannot be read.
    Unreadable {
        /// The disk, in words.
        disk: String,
        /// Why.
        why: String,
    },
    /// A place for the data holds something that is not ours.
    Foreign {
        /// The disk, in words.
        disk: String,
        /// What is on it.
        contents: String,
    },
    /// The disk that the machine was started from has no place for data.
    NoPlace,
    /// Something had to be done and failed.
    Failed {
        /// Why.
        why: String,
    },
}

/// Something worth a line that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An older copy of this box's data is plugged in and is not used.
    OldCopy {
        /// Its disk, in words.
        disk: String,
    },
    /// The data of another box is plugged in and is not touched.
    OtherBox {
        /// Its disk, in words.
        disk: String,
    },
    /// Our data, copied by other means than ours: it is not touched.
    StrangeCopy {
        /// Its disk, in words.
        disk: String,
    },
    /// The move to a disk did not succeed; the data is where it was.
    MoveFailed {
        /// The disk, in words.
        disk: String,
        /// Why.
        why: String,
    },
    /// A better disk has no room for the data.
    TooSmall {
        /// The disk, in words.
        disk: String,
        /// What it would need to have, bytes.
        needs_bytes: u64,
    },
    /// A twin of the data in use was plugged in; at the next start nobody could tell them apart.
    Twin {
        /// Its disk, in words.
        disk: String,
    },
    /// The file system was mended at its check.
    Mended {
        /// The disk, in words.
        disk: String,
    },
}

/// What is so, what is asked, and what is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the data is.
    pub state: DataState,
    /// What is asked of whoever stands before the box.
    pub question: Option<Question>,
    /// What else is worth saying.
    pub notes: Vec<Note>,
    /// The next order; after it everything is looked at anew.
    pub action: Option<Action>,
}
