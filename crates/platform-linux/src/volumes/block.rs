//! Whole block devices: writing pieces, and telling the kernel about partitions.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

nix::ioctl_none_bad!(reread_partitions, nix::request_code_none!(0x12, 95));
nix::ioctl_write_ptr_bad!(change_partition, nix::request_code_none!(0x12, 105), PartitionOrder);
// EXT4_IOC_SHUTDOWN of linux/ext4.h.
nix::ioctl_read!(shut_file_system, b'X', 125, u32);

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
pub(crate) struct PartitionOrder {
    op: libc::c_int,
    flags: libc::c_int,
    datalen: libc::c_int,
    data: *const PartitionPlace,
}

/// `struct blkpg_partition` of linux/blkpg.h; bytes.
#[repr(C)]
struct PartitionPlace {
    start: libc::c_longlong,
    length: libc::c_longlong,
    pno: libc::c_int,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// BLKPG_ADD_PARTITION.
const ADD: libc::c_int = 1;

/// BLKPG_RESIZE_PARTITION.
const RESIZE: libc::c_int = 3;

/// EXT4_GOING_FLAGS_NOLOGFLUSH.
const WITHOUT_LOG: u32 = 2;

/// Writes pieces in their order, each on stable storage before the next.
pub(crate) fn write_pieces(node: &Path, pieces: &[(u64, Vec<u8>)]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(node)?;
    for (offset, bytes) in pieces {
        file.write_all_at(bytes, *offset)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Lets the kernel read the table anew; fails while a partition is in use.
#[expect(unsafe_code, reason = "the kernel takes this by ioctl only")]
pub(crate) fn reread(node: &Path) -> io::Result<()> {
    let file = File::open(node)?;
    // SAFETY: the descriptor is open for the whole call; BLKRRPART takes no argument.
    unsafe { reread_partitions(file.as_raw_fd()) }?;
    Ok(())
}

/// Tells the kernel of a partition, for kernels that read no such table themselves.
pub(crate) fn add(node: &Path, number: u32, start_bytes: u64, size_bytes: u64) -> io::Result<()> {
    change(node, ADD, number, start_bytes, size_bytes)
}

/// Tells the kernel a partition's new size, in use or not.
pub(crate) fn resize(node: &Path, number: u32, start_bytes: u64, size_bytes: u64) -> io::Result<()> {
    change(node, RESIZE, number, start_bytes, size_bytes)
}

#[expect(unsafe_code, reason = "the kernel takes this by ioctl only")]
fn change(node: &Path, op: libc::c_int, number: u32, start_bytes: u64, size_bytes: u64) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let place = PartitionPlace {
        start: start_bytes.try_into().map_err(too_large)?,
        length: size_bytes.try_into().map_err(too_large)?,
        pno: number.try_into().map_err(too_large)?,
        devname: [0; 64],
        volname: [0; 64],
    };
    let datalen = size_of::<PartitionPlace>().try_into().map_err(too_large)?;
    let order = PartitionOrder { op, flags: 0, datalen, data: &raw const place };
    let file = File::open(node)?;
    // SAFETY: the descriptor, the order and the place that it points to live for the whole call; sizes are theirs.
    unsafe { change_partition(file.as_raw_fd(), &raw const order) }?;
    Ok(())
}

/// Lets a mounted ext4 forget what is not on its disk, as a power cut does. For tests of what survives one.
///
/// # Errors
/// When it is no mounted ext4, or the caller is not root.
#[expect(unsafe_code, reason = "the kernel takes this by ioctl only")]
pub fn forget_unwritten(folder: &Path) -> io::Result<()> {
    let file = File::open(folder)?;
    let mut flags = WITHOUT_LOG;
    // SAFETY: the descriptor and the flags live for the whole call.
    unsafe { shut_file_system(file.as_raw_fd(), &raw mut flags) }?;
    Ok(())
}
