//! Commands to disks that no file answers: NVMe admin commands and SCSI commands with ATA inside.
//!
//! Only commands that read. What the answers mean is said by `platform::disk::health` and `trim`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::fcntl::OFlag;
use platform::disk::health::PAGE_BYTES;

/// How long a disk may take to answer, milliseconds: a sleeping disk needs some seconds to spin up, and a bridge that
/// drops the question must not hold the thread for the kernel's own half minute.
const ANSWER_MS: u32 = 10_000;

/// One page of an answer.
pub(super) type Page = [u8; PAGE_BYTES];

/// Opens a disk for questions; a reader without a card must not block.
pub(super) fn open(node: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(node)
}

/// `struct nvme_passthru_cmd` of linux/nvme_ioctl.h.
#[repr(C)]
#[derive(Debug, Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    address: u64,
    metadata_bytes: u32,
    data_bytes: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

/// Reads the SMART / Health log of an NVMe controller (Get Log Page, log 02h, all namespaces).
#[expect(unsafe_code, reason = "the NVMe command ioctl has no safe wrapper")]
pub(super) fn nvme_smart_log(disk: &File) -> io::Result<Page> {
    const GET_LOG_PAGE: u8 = 0x02;
    const SMART_LOG: u32 = 0x02;
    /// Bytes of the answer, [`PAGE_BYTES`].
    const ANSWER_BYTES: u32 = 512;
    /// Dwords of the answer less one, in bits 16 on of dword 10.
    const DWORDS: u32 = (ANSWER_BYTES / 4 - 1) << 16;
    const ADMIN_CMD: nix::sys::ioctl::ioctl_num_type =
        nix::request_code_readwrite!(b'N', 0x41, size_of::<NvmeCommand>());
    let mut page = [0; PAGE_BYTES];
    let mut command = NvmeCommand {
        opcode: GET_LOG_PAGE,
        namespace: u32::MAX,
        address: page.as_mut_ptr() as u64,
        data_bytes: ANSWER_BYTES,
        cdw10: SMART_LOG | DWORDS,
        timeout_ms: ANSWER_MS,
        ..NvmeCommand::default()
    };
    // SAFETY: the structure has the kernel's layout; the kernel writes `data_bytes` bytes at most at `address`, which
    // is `page`, alive and not otherwise used until the call returns.
    let status = unsafe { libc::ioctl(disk.as_raw_fd(), ADMIN_CMD, std::ptr::from_mut(&mut command)) };
    match status {
        0 => Ok(page),
        // A positive value is the controller's own status.
        1.. => Err(io::Error::other(format!("the controller answered {status:#x}"))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct sg_io_hdr` of scsi/sg.h.
#[repr(C)]
#[derive(Debug)]
struct SgIo {
    interface: libc::c_int,
    direction: libc::c_int,
    command_bytes: u8,
    sense_bytes_max: u8,
    iovec_count: u16,
    data_bytes: u32,
    data: *mut u8,
    command: *const u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    pack_id: libc::c_int,
    user: *mut u8,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_bytes: u8,
    host_status: u16,
    driver_status: u16,
    left_bytes: libc::c_int,
    duration_ms: u32,
    info: u32,
}

/// Sends a SCSI command that answers with data, and gives the number of bytes that came.
#[expect(unsafe_code, reason = "SG_IO has no safe wrapper")]
fn scsi_read(disk: &File, command: &[u8], answer: &mut [u8]) -> io::Result<usize> {
    const SG_IO: u32 = 0x2285;
    const FROM_DEVICE: libc::c_int = -3;
    const SENSE_BYTES: u8 = 32;
    let mut sense = [0_u8; SENSE_BYTES as usize];
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut header = SgIo {
        interface: libc::c_int::from(b'S'),
        direction: FROM_DEVICE,
        command_bytes: u8::try_from(command.len()).map_err(too_long)?,
        sense_bytes_max: SENSE_BYTES,
        iovec_count: 0,
        data_bytes: u32::try_from(answer.len()).map_err(too_long)?,
        data: answer.as_mut_ptr(),
        command: command.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms: ANSWER_MS,
        flags: 0,
        pack_id: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_bytes: 0,
        host_status: 0,
        driver_status: 0,
        left_bytes: 0,
        duration_ms: 0,
        info: 0,
    };
    // SAFETY: the structure has the kernel's layout; its pointers are to slices that live until the call returns, each
    // with its own length beside it, and the kernel keeps none of them.
    let status = unsafe { libc::ioctl(disk.as_raw_fd(), SG_IO.into(), std::ptr::from_mut(&mut header)) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    if header.status != 0 || header.host_status != 0 || header.driver_status != 0 {
        // Fixed sense has its key in byte 2, descriptor sense in byte 1; 5 is "illegal request": it does not know it.
        let [kind, descriptor_key, fixed_key, ..] = sense;
        let key = if kind & 0x7F >= 0x72 { descriptor_key } else { fixed_key } & 0x0F;
        let text = format!("status {:#x}, host {:#x}, sense {key:#x}", header.status, header.host_status);
        return Err(io::Error::other(text));
    }
    Ok(answer.len().saturating_sub(usize::try_from(header.left_bytes).unwrap_or(0)))
}

/// Reads a page of vital product data (SPC-5 section 6.6.4).
pub(super) fn vital_page(disk: &File, code: u8) -> io::Result<Vec<u8>> {
    const INQUIRY: u8 = 0x12;
    const LENGTH: u8 = 0xFF;
    let mut answer = vec![0; usize::from(LENGTH)];
    let came = scsi_read(disk, &[INQUIRY, 1, code, 0, LENGTH, 0], &mut answer)?;
    answer.truncate(came);
    Ok(answer)
}

/// An ATA command that reads one page of 512 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtaRead {
    command: u8,
    features: u8,
    lba: [u8; 3],
    /// A 48-bit command; it exists in the 16-byte form alone.
    extended: bool,
}

impl AtaRead {
    /// IDENTIFY DEVICE.
    pub(super) const IDENTIFY: Self = Self::short(0xEC, 0, [0; 3]);
    /// SMART READ DATA.
    pub(super) const SMART_DATA: Self = Self::short(0xB0, 0xD0, [0, 0x4F, 0xC2]);
    /// SMART READ THRESHOLDS: obsolete since ATA-4 and answered by nearly all.
    pub(super) const SMART_THRESHOLDS: Self = Self::short(0xB0, 0xD1, [1, 0x4F, 0xC2]);

    const fn short(command: u8, features: u8, lba: [u8; 3]) -> Self {
        Self { command, features, lba, extended: false }
    }

    /// READ LOG EXT: one page of a general purpose log.
    pub(super) const fn log(log: u8, page: u8) -> Self {
        Self { command: 0x2F, features: 0, lba: [log, page, 0], extended: true }
    }

    /// Packs it into ATA PASS-THROUGH (16) (SAT-4 section 12.2.2.3): data in, its length in the sector count.
    pub(super) fn packed_16(self) -> [u8; 16] {
        let [low, mid, high] = self.lba;
        let extend = u8::from(self.extended);
        let protocol = PIO_IN << 1 | extend;
        [0x85, protocol, DATA_IN, 0, self.features, 0, 1, 0, low, 0, mid, 0, high, 0, self.command, 0]
    }

    /// Packs it into ATA PASS-THROUGH (12), for bridges that know only that.
    pub(super) fn packed_12(self) -> Option<[u8; 12]> {
        let [low, mid, high] = self.lba;
        (!self.extended).then_some([
            0xA1,
            PIO_IN << 1,
            DATA_IN,
            self.features,
            1,
            low,
            mid,
            high,
            0,
            self.command,
            0,
            0,
        ])
    }
}

/// The protocol of SAT for reads by the processor.
const PIO_IN: u8 = 4;
/// Length in the sector count (2), counted in blocks (bit 2), from the device (bit 3).
const DATA_IN: u8 = 0x0E;

/// Sends an ATA command, in the long form and then in the short one.
pub(super) fn ata_read(disk: &File, read: AtaRead) -> io::Result<Page> {
    let mut page = [0; PAGE_BYTES];
    let whole = |came: usize| {
        if came == PAGE_BYTES { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
    };
    let long = scsi_read(disk, &read.packed_16(), &mut page).and_then(whole);
    match (long, read.packed_12()) {
        (Ok(()), _) => Ok(page),
        (Err(_), Some(short)) => {
            scsi_read(disk, &short, &mut page).and_then(whole)?;
            Ok(page)
        }
        (Err(error), None) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_size() {
        assert_eq!(size_of::<NvmeCommand>(), 72);
        assert_eq!(size_of::<SgIo>(), if cfg!(target_pointer_width = "64") { 88 } else { 64 });
    }

    #[test]
    fn ata_commands_are_packed_as_smartctl_packs_them() {
        let smart = [0x85, 8, 0x0E, 0, 0xD0, 0, 1, 0, 0, 0, 0x4F, 0, 0xC2, 0, 0xB0, 0];
        assert_eq!(AtaRead::SMART_DATA.packed_16(), smart);
        let identify = [0xA1, 8, 0x0E, 0, 1, 0, 0, 0, 0, 0xEC, 0, 0];
        assert_eq!(AtaRead::IDENTIFY.packed_12(), Some(identify));
        let log = [0x85, 9, 0x0E, 0, 0, 0, 1, 0, 4, 0, 7, 0, 0, 0, 0x2F, 0];
        assert_eq!(AtaRead::log(4, 7).packed_16(), log);
        assert_eq!(AtaRead::log(4, 7).packed_12(), None);
    }

    #[test]
    fn what_is_no_disk_answers_with_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert!(nvme_smart_log(&file).is_err());
        assert!(ata_read(&file, AtaRead::IDENTIFY).is_err());
        assert!(vital_page(&file, 0xB2).is_err());
    }
}
