//! Disks with what lies on them, and the hands that change it: what the storage policy sees and may order.
//!
//! Types and a trait only. Whoever implements [`Volumes`] decides nothing: it looks, does one thing, and says how it
//! went. The file that marks a disk as ours is opaque bytes here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{DeviceError, DiskFacts};

/// Name of the file that marks a file system as holding a copy of the data, in its topmost folder.
pub const IDENTITY_FILE: &str = "perch-data.json";

/// Largest identity file that is read, bytes: ours have about 500.
pub const IDENTITY_BYTES_MAX: u64 = 4096;

/// Name of the note to the PDS that this copy goes on after a later one was given up, in the folder of the PDS.
///
/// Its content is another one each time, so that a note is obeyed once, however often it is read.
pub const SEQUENCE_JUMP_FILE: &str = "sequence-jump";

/// Largest such note that is read, bytes: ours have 37.
pub const SEQUENCE_JUMP_BYTES_MAX: u64 = 128;

/// The partition's own UUID, lower case: `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` of a GPT, `xxxxxxxx-04` of an MBR.
///
/// Read from the table on the disk, not from what the kernel remembers of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeId(String);

impl VolumeId {
    /// Wraps the text form.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// Makes a random (version 4) UUID of 16 random bytes (RFC 9562, section 5.4).
    #[must_use]
    pub fn random(random: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(random);
        let number = (number & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
        let hex = format!("{number:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        Self(format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)))
    }

    /// Gives the text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for VolumeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What lies on a partition, or on a disk without partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holds {
    /// Nothing: where content would show there are zeros.
    Nothing,
    /// An ext4 without files, as a freshly flashed image has it.
    EmptyFileSystem,
    /// A file system with our mark: the bytes of its identity file.
    Marked(Vec<u8>),
    /// Something of somebody else, in the owner's words: `NTFS`, `ext4 "backup"`.
    Foreign(String),
    /// A place that is ours and cannot be read; why, in the owner's words.
    Unreadable(String),
}

/// One partition; number 0 stands for a disk without partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeenVolume {
    /// Its UUID.
    pub id: VolumeId,
    /// Its number in the table, from 1.
    pub number: u32,
    /// Its size.
    pub size_bytes: u64,
    /// True when it is a place for our data by its kind: our GPT type, or the fourth partition of the boot disk.
    pub is_data_place: bool,
    /// What lies on it.
    pub holds: Holds,
}

/// A whole disk at one moment. Two of them are equal only if it is the same disk, plugged in once, with equal content
/// as far as it was looked at: this is what a consent is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDisk {
    /// Model, kind, size and kernel name.
    pub facts: DiskFacts,
    /// Serial number; empty when the disk gives none.
    pub serial: String,
    /// The kernel's number of this plugging-in (`diskseq`): a disk that was swapped has another one.
    pub attached: Option<u64>,
    /// True for the disk that the machine was started from.
    pub is_boot: bool,
    /// Its partitions.
    pub volumes: Vec<SeenVolume>,
}

impl SeenDisk {
    /// Names the disk as an owner knows it: model and size.
    #[must_use]
    pub fn words(&self) -> String {
        /// Disks are sold by powers of ten.
        const GB: u64 = 1_000_000_000;
        let name = if self.facts.model.is_empty() { self.facts.kind.label() } else { &self.facts.model };
        match self.facts.size_bytes {
            bytes if bytes >= GB => format!("{name}, {} GB", bytes / GB),
            bytes => format!("{name}, {} MB", bytes / 1_000_000),
        }
    }
}

/// How the check of a file system went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// Nothing was wrong.
    Clean,
    /// Something was wrong and is mended, without loss as far as the checker knows.
    Mended,
    /// Something is wrong that is not mended without a question.
    Damaged,
}

/// Where a volume is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountPlace {
    /// Where the services find the data.
    Live,
    /// Where the new copy of a move is written.
    Target,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The disk is not the one that was looked at before: another one, replugged, or with other content.
    #[error("the disk is not as it was when it was looked at")]
    Changed,
    /// The disk or partition is not there.
    #[error("the disk is not there")]
    Gone,
    /// The operation failed.
    #[error(transparent)]
    Failed(#[from] DeviceError),
}

/// The hands: each call does one thing to a disk, and is durable when it returns.
pub trait Volumes: Send + std::fmt::Debug {
    /// A number that changes when a disk comes or goes. Cheap: it is asked every second.
    fn plugged(&mut self) -> u64;

    /// Looks at every disk. Writes nothing to what is not ours.
    ///
    /// # Errors
    /// When not even the list can be read. A disk that fails is left out or has [`Holds::Unreadable`].
    fn scan(&mut self) -> Result<Vec<SeenDisk>, DeviceError>;

    /// Erases a disk and makes it ours: a GPT with one partition of this id, aligned to 4 MiB, an ext4 on it, and the
    /// identity file. Compares the disk with `as_seen` just before the first write.
    ///
    /// # Errors
    /// [`VolumeError::Changed`] before anything was written; [`VolumeError::Failed`] in the middle.
    fn provision(&mut self, as_seen: &SeenDisk, id: &VolumeId, identity: &[u8]) -> Result<(), VolumeError>;

    /// Makes a freshly flashed boot disk one of its own: a new signature in its table, so that no two disks of one image
    /// are alike; its last partition, the place for data, reaches to the end; and that gets an empty file system made
    /// for its size, with an id of its own. Compares the disk with `as_seen` just before the first write, and refuses a
    /// table that is not the image's and a place that holds anything.
    ///
    /// # Errors
    /// [`VolumeError`]; a second call finishes what a first one began, also after a power cut.
    fn prepare_boot(&mut self, as_seen: &SeenDisk) -> Result<(), VolumeError>;

    /// Measures how much of a mounted volume is taken, bytes.
    ///
    /// # Errors
    /// [`VolumeError`].
    fn used_bytes(&mut self, place: MountPlace) -> Result<u64, VolumeError>;

    /// Checks a file system that is not mounted and mends what is safe to mend; with `repair`, everything.
    ///
    /// # Errors
    /// [`VolumeError`] when the checker cannot run.
    fn check(&mut self, volume: &VolumeId, repair: bool) -> Result<CheckResult, VolumeError>;

    /// Mounts a volume and gives the folder. What is mounted there already is an error.
    ///
    /// # Errors
    /// [`VolumeError`].
    fn mount(&mut self, volume: &VolumeId, place: MountPlace) -> Result<PathBuf, VolumeError>;

    /// Unmounts; writes everything out first. With `torn_off` the disk is gone: the place is detached and nothing is
    /// waited for. Nothing mounted there is no error.
    ///
    /// # Errors
    /// [`VolumeError`] when somebody still uses it.
    fn unmount(&mut self, place: MountPlace, torn_off: bool) -> Result<(), VolumeError>;

    /// Replaces the identity file of a volume, mounted or not, durably and whole.
    ///
    /// # Errors
    /// [`VolumeError`]; the old content or the new one is there then, never a mixture.
    fn mark(&mut self, volume: &VolumeId, identity: &[u8]) -> Result<(), VolumeError>;

    /// Leaves word for the PDS, durably, that others may have seen larger sequence numbers than this copy holds: the
    /// note [`SEQUENCE_JUMP_FILE`] with a new random content. Does nothing where there is no PDS yet.
    ///
    /// # Errors
    /// [`VolumeError`].
    fn note_jump(&mut self, volume: &VolumeId) -> Result<(), VolumeError>;

    /// Forgets what memory holds of a mounted volume's files, so that the next reading comes from the disk.
    ///
    /// # Errors
    /// [`VolumeError`].
    fn forget_cached(&mut self, folder: &Path) -> Result<(), VolumeError>;

    /// Sixteen random bytes.
    ///
    /// # Errors
    /// When the system has none yet.
    fn random(&mut self) -> Result<[u8; 16], DeviceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_has_the_form_of_version_4() {
        let id = VolumeId::random([0xff; 16]);
        assert_eq!(id.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(VolumeId::random([0; 16]).as_str(), "00000000-0000-4000-8000-000000000000");
        assert_eq!(VolumeId::new("ABCD-04").as_str(), "abcd-04");
    }
}
