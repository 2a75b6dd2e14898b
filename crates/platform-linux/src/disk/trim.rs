//! Tells disks which blocks are free, after a test showed that they can be told.
//!
//! The test touches blocks of files that it made itself, and none else: it frees one file's blocks, has exactly those
//! trimmed, and reads them and their neighbours back past all caches.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use platform::disk::trim::{ScratchResult, Trimmer, UnmapPages};
use platform::{AttachedDisk, DeviceError};

use super::{ask, attribute};

/// Size of each of the three files, bytes: several times the largest unit that SSDs free (1 MiB), so that whole units
/// lie in the middle one.
const FILE_BYTES: u64 = 8 * 1024 * 1024;
/// What direct reads are aligned to, bytes: the largest logical block.
const ALIGN: usize = 4096;
/// Most pieces that a file may lie in; a file system too full for that is not tested.
const EXTENTS_MAX: u32 = 64;

/// TRIM on this machine's disks.
#[derive(Clone, Debug)]
pub struct LinuxTrim {
    sys: PathBuf,
}

impl Default for LinuxTrim {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl LinuxTrim {
    /// Takes `sys` below a folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { sys: root.join("sys") }
    }

    fn folder(&self, disk: &AttachedDisk) -> PathBuf {
        self.sys.join("block").join(&disk.name)
    }
}

impl Trimmer for LinuxTrim {
    fn kernel_discards(&self, disk: &AttachedDisk) -> bool {
        attribute(&self.folder(disk), "queue/discard_max_bytes").is_some_and(|most| most != "0")
    }

    fn pages(&self, disk: &AttachedDisk) -> Option<UnmapPages> {
        let device = self.folder(disk).join("device");
        let page = |name: &str, code: u8| {
            std::fs::read(device.join(name)).or_else(|_| ask::vital_page(&ask::open(&disk.node)?, code)).ok()
        };
        Some(UnmapPages::parse(&page("vpd_pgb0", 0xB0)?, &page("vpd_pgb2", 0xB2)?))
    }

    fn set_unmap(&self, disk: &AttachedDisk, on: bool) -> Result<(), DeviceError> {
        let failed = |error| DeviceError::new("disk", "switch TRIM", error);
        let devices = self.folder(disk).join("device/scsi_disk");
        let device = std::fs::read_dir(devices).map_err(failed)?.flatten().next();
        let device = device.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let mode = if on { "unmap" } else { "disabled" };
        std::fs::write(device.path().join("provisioning_mode"), mode).map_err(failed)
    }

    fn trim(&self, folder: &Path) -> Result<u64, DeviceError> {
        let freed = File::open(folder).and_then(|folder| trim_range(&folder, 0, u64::MAX));
        freed.map_err(|error| DeviceError::new("data disk", "free unused blocks", error))
    }

    fn test(&self, folder: &Path, node: &Path) -> Result<ScratchResult, DeviceError> {
        let free = |folder: &File, freed: &Extent| trim_range(folder, freed.physical, freed.length).map(drop);
        scratch_test(folder, node, free).map_err(|error| DeviceError::new("data disk", "test TRIM", error))
    }
}

/// `struct fstrim_range` of linux/fs.h.
#[repr(C)]
#[derive(Debug)]
struct TrimRange {
    start: u64,
    length: u64,
    length_min: u64,
}

#[expect(unsafe_code, reason = "FITRIM has no safe wrapper")]
fn trim_range(folder: &File, start: u64, length: u64) -> io::Result<u64> {
    const FITRIM: nix::sys::ioctl::ioctl_num_type =
        nix::request_code_readwrite!(b'X', 121, size_of::<TrimRange>());
    let mut range = TrimRange { start, length, length_min: 0 };
    // SAFETY: the structure has the kernel's layout, and the kernel writes the trimmed bytes into it.
    let status = unsafe { libc::ioctl(folder.as_raw_fd(), FITRIM, std::ptr::from_mut(&mut range)) };
    if status == 0 { Ok(range.length) } else { Err(io::Error::last_os_error()) }
}

/// A piece of a file on its file system, bytes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
}

/// `struct fiemap` with room for its extents (linux/fiemap.h).
#[repr(C)]
#[derive(Debug)]
struct FileMap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [FileMapExtent; EXTENTS_MAX as usize],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct FileMapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved_64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[expect(unsafe_code, reason = "FIEMAP has no safe wrapper")]
fn extents(file: &File) -> io::Result<Vec<Extent>> {
    /// The header alone: the ioctl's number knows no extents.
    const HEADER_BYTES: usize = 32;
    const FIEMAP: nix::sys::ioctl::ioctl_num_type = nix::request_code_readwrite!(b'f', 11, HEADER_BYTES);
    const SYNC_FIRST: u32 = 1;
    const LAST: u32 = 1;
    /// Merged is only a note; any other flag means that the place is not a plain one.
    const MERGED: u32 = 0x1000;
    let mut map = FileMap {
        start: 0,
        length: u64::MAX,
        flags: SYNC_FIRST,
        mapped: 0,
        room: EXTENTS_MAX,
        reserved: 0,
        extents: [FileMapExtent::default(); EXTENTS_MAX as usize],
    };
    // SAFETY: the structure has the kernel's layout, and `room` says how many extents fit behind the header.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP, std::ptr::from_mut(&mut map)) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let mapped = map.extents.iter().take(usize::try_from(map.mapped).unwrap_or(0));
    let found: Vec<_> = mapped.copied().collect();
    let plain = found.iter().all(|extent| extent.flags & !(LAST | MERGED) == 0);
    let whole = found.iter().map(|extent| extent.length).sum::<u64>() >= FILE_BYTES;
    if !plain || !whole {
        return Err(io::Error::other("the file lies in too many or in special pieces"));
    }
    Ok(found
        .iter()
        .map(|&FileMapExtent { logical, physical, length, .. }| Extent { logical, physical, length })
        .collect())
}

/// One of the files, removed when it goes.
#[derive(Debug)]
struct Scratch {
    path: PathBuf,
    seed: u64,
    extents: Vec<Extent>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

impl Scratch {
    fn write(folder: &Path, name: &str, seed: u64) -> io::Result<Self> {
        let mut scratch =
            Self { path: folder.join(format!(".perch-trim-{name}")), seed, extents: Vec::new() };
        let mut file =
            File::options().create(true).truncate(true).write(true).read(true).open(&scratch.path)?;
        file.write_all(&pattern(seed, 0, usize::try_from(FILE_BYTES).unwrap_or(0)))?;
        file.sync_all()?;
        scratch.extents = extents(&file)?;
        Ok(scratch)
    }

    /// Reads its blocks from the disk and tells of each 4 KiB whether it holds the pattern and whether it is clear.
    fn look(&self, disk: &File) -> io::Result<Look> {
        let mut look = Look { all_pattern: true, all_clear: true };
        for extent in &self.extents {
            let read = read_direct(disk, extent.physical, extent.length)?;
            let wanted = pattern(self.seed, extent.logical, read.len());
            look.all_pattern &= read == wanted;
            look.all_clear &= read.chunks(ALIGN).all(platform::disk::content::is_blank);
        }
        Ok(look)
    }
}

#[derive(Debug)]
struct Look {
    all_pattern: bool,
    all_clear: bool,
}

/// Bytes that name their file and place, so that no block passes for another.
fn pattern(seed: u64, at: u64, length: usize) -> Vec<u8> {
    let words = (at / 8..).map(|word| (word ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    words.flat_map(u64::to_le_bytes).take(length).collect()
}

/// Reads past the page cache. Offset and length are whole blocks of the file system.
fn read_direct(disk: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut room = vec![0_u8; length + ALIGN];
    let shift = room.as_ptr().align_offset(ALIGN);
    let aligned = room.get_mut(shift..shift + length).ok_or(io::ErrorKind::InvalidInput)?;
    disk.read_exact_at(aligned, at)?;
    Ok(aligned.to_vec())
}

fn scratch_test(
    folder: &Path,
    node: &Path,
    free: impl Fn(&File, &Extent) -> io::Result<()>,
) -> io::Result<ScratchResult> {
    let disk = File::options().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(node)?;
    let folder_file = File::open(folder)?;
    let before = Scratch::write(folder, "before", 1)?;
    let freed = Scratch::write(folder, "freed", 2)?;
    let after = Scratch::write(folder, "after", 3)?;
    for scratch in [&before, &freed, &after] {
        if !scratch.look(&disk)?.all_pattern {
            return Err(io::Error::other("the files are not where the file system says"));
        }
    }
    std::fs::remove_file(&freed.path)?;
    // Blocks are free when the removal is committed, not before.
    nix::unistd::syncfs(&folder_file).map_err(io::Error::from)?;
    for extent in &freed.extents {
        match free(&folder_file, extent) {
            Ok(()) => {}
            Err(error) if is_refusal(&error) => return Ok(ScratchResult::Refused),
            Err(error) => return Err(error),
        }
    }
    if !before.look(&disk)?.all_pattern || !after.look(&disk)?.all_pattern {
        return Ok(ScratchResult::Damaged);
    }
    Ok(if freed.look(&disk)?.all_clear { ScratchResult::Cleared } else { ScratchResult::Unchanged })
}

fn is_refusal(error: &io::Error) -> bool {
    [Errno::EOPNOTSUPP, Errno::EREMOTEIO, Errno::EIO]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

#[cfg(test)]
#[path = "trim_tests.rs"]
mod tests;
