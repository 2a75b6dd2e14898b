//! What the kernel's log says about disks and power: one record in, one finding out.
//!
//! Pure. The wording belongs to the kernel and changes with it: each form that is known stands in a test with the
//! driver that writes it, and what is not recognised is nothing.

/// Something that the kernel said and that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// UAS gave up on a command of this disk (`sda`) (drivers/usb/storage/uas.c).
    UasAbort {
        /// Kernel name of the disk.
        disk: String,
    },
    /// A read or write failed for good (block/blk-core.c).
    IoError {
        /// Kernel name of the disk.
        disk: String,
        /// True for a write, false for any other, `None` where the kernel does not say.
        write: Option<bool>,
    },
    /// An NVMe controller (`nvme0`) did not answer in time (drivers/nvme/host/pci.c).
    NvmeTimeout {
        /// Kernel name of the controller.
        controller: String,
    },
    /// A file system was made read-only or found damaged (fs/ext4/super.c).
    FileSystemError {
        /// Kernel name of its partition or disk.
        device: String,
        /// True when it takes no writes any more.
        read_only: bool,
    },
    /// A driver found that a clock chip had stopped; older ones clear the chip's flag with it (drivers/rtc/rtc-ds1307.c,
    /// until 6.17).
    ClockStopped {
        /// The chip's device (`1-0068`).
        device: String,
    },
    /// The supply voltage fell too low (drivers/hwmon/raspberrypi-hwmon.c).
    Undervoltage,
    /// The supply voltage is normal again.
    VoltageNormal,
}

/// A record of `/dev/kmsg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRecord {
    /// When it was written, microseconds of CLOCK_MONOTONIC.
    pub at_us: u64,
    /// What it says, when it matters.
    pub event: Option<KernelEvent>,
}

impl KernelRecord {
    /// Reads a record (`Documentation/ABI/testing/dev-kmsg`): `priority,sequence,microseconds,flags;text`, then lines of
    /// properties. `None` when it is none, or was not written by the kernel: any process may write records, and they
    /// carry a facility other than 0.
    #[must_use]
    pub fn parse(record: &str) -> Option<Self> {
        let (head, text) = record.split_once(';')?;
        let mut fields = head.split(',');
        let priority: u32 = fields.next()?.parse().ok()?;
        let at_us = fields.nth(1)?.parse().ok()?;
        let is_kernels = priority >> 3 == 0;
        is_kernels.then(|| Self { at_us, event: event(text.lines().next().unwrap_or_default()) })
    }
}

/// The word in brackets before which `sd 0:0:0:0: ` stands.
fn bracketed(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(name, _)| name)
}

/// The word that follows a phrase, without punctuation.
fn word_after<'text>(text: &'text str, phrase: &str) -> Option<&'text str> {
    let rest = text.split_once(phrase)?.1;
    let word = rest.split([' ', ',', ')', ':']).next()?;
    (!word.is_empty()).then_some(word)
}

fn event(text: &str) -> Option<KernelEvent> {
    if text.contains("uas_eh_abort_handler") {
        return Some(KernelEvent::UasAbort { disk: bracketed(text)?.to_owned() });
    }
    if text.contains("I/O error, dev ") && !text.contains("Buffer I/O error") {
        let write = if text.contains("(WRITE)") {
            Some(true)
        } else if text.contains(" op 0x") {
            Some(false)
        } else {
            None
        };
        return Some(KernelEvent::IoError { disk: word_after(text, "I/O error, dev ")?.to_owned(), write });
    }
    if let Some(rest) = text.strip_prefix("nvme ") {
        let times_out = rest.contains(" timeout, ") || rest.contains("controller is down");
        return times_out
            .then(|| Some(KernelEvent::NvmeTimeout { controller: rest.split(':').next()?.to_owned() }))
            .flatten();
    }
    if text.starts_with("EXT4-fs error") {
        let device = word_after(text, "(device ")?.to_owned();
        return Some(KernelEvent::FileSystemError { device, read_only: false });
    }
    if text.starts_with("EXT4-fs (") && text.contains("Remounting filesystem read-only") {
        let device = word_after(text, "EXT4-fs (")?.to_owned();
        return Some(KernelEvent::FileSystemError { device, read_only: true });
    }
    if let Some((head, _)) = text.split_once(": SET TIME!") {
        return Some(KernelEvent::ClockStopped { device: head.split(' ').next_back()?.to_owned() });
    }
    if text.contains("Undervoltage detected!") || text.contains("Under-voltage detected!") {
        return Some(KernelEvent::Undervoltage);
    }
    text.contains("Voltage normalised").then_some(KernelEvent::VoltageNormal)
}

/// The kernel's log, read on.
pub trait KernelLog: Send + std::fmt::Debug {
    /// Waits up to `limit` for the next record of the kernel and gives it; `None` when the time is over. Records that
    /// were overwritten before they were read are passed over.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn next(&mut self, limit: std::time::Duration) -> Result<Option<KernelRecord>, crate::DeviceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<KernelEvent> {
        KernelRecord::parse(&format!("3,1234,5678901,-;{text}\n SUBSYSTEM=scsi\n DEVICE=+scsi:0:0:0:0\n"))
            .unwrap()
            .event
    }

    #[test]
    fn aborts_of_uas_name_their_disk() {
        let wanted = Some(KernelEvent::UasAbort { disk: "sda".to_owned() });
        assert_eq!(
            said("sd 0:0:0:0: [sda] tag#12 uas_eh_abort_handler 0 uas-tag 1 inflight: CMD OUT "),
            wanted
        );
        assert_eq!(said("scsi host0: uas_eh_device_reset_handler start"), None);
    }

    #[test]
    fn failed_reads_and_writes_name_their_disk() {
        let error = |disk: &str, write| Some(KernelEvent::IoError { disk: disk.to_owned(), write });
        let write = "I/O error, dev sda, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2";
        assert_eq!(said(write), error("sda", Some(true)));
        let read =
            "critical medium error, dev sda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0";
        assert_eq!(said(read), None, "no word of an I/O error");
        let read = "I/O error, dev mmcblk0, sector 99 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2";
        assert_eq!(said(read), error("mmcblk0", Some(false)));
        assert_eq!(said("blk_update_request: I/O error, dev sdb, sector 7"), error("sdb", None));
        assert_eq!(said("Buffer I/O error on dev sda1, logical block 0, lost async page write"), None);
    }

    #[test]
    fn an_nvme_that_does_not_answer_is_noticed() {
        let wanted = Some(KernelEvent::NvmeTimeout { controller: "nvme0".to_owned() });
        assert_eq!(
            said("nvme nvme0: I/O tag 12 (100c) QID 3 timeout, aborting req_op:WRITE(1) size:4096"),
            wanted
        );
        assert_eq!(
            said("nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10"),
            wanted
        );
        assert_eq!(said("nvme nvme0: 4/0/0 default/read/poll queues"), None);
    }

    #[test]
    fn a_clock_chip_that_a_driver_found_stopped_is_noticed() {
        let wanted = Some(KernelEvent::ClockStopped { device: "1-0068".to_owned() });
        assert_eq!(said("rtc-ds1307 1-0068: SET TIME!"), wanted);
        assert_eq!(said("rtc-ds1307 1-0068: registered as rtc1"), None);
    }

    #[test]
    fn a_damaged_file_system_is_noticed() {
        let damage = |device: &str, read_only| {
            Some(KernelEvent::FileSystemError { device: device.to_owned(), read_only })
        };
        let error = "EXT4-fs error (device sda1): ext4_find_entry:1463: inode #2: comm ls: reading directory lblock 0";
        assert_eq!(said(error), damage("sda1", false));
        assert_eq!(said("EXT4-fs (sda1): Remounting filesystem read-only"), damage("sda1", true));
        assert_eq!(said("EXT4-fs (sda1): mounted filesystem with ordered data mode"), None);
    }

    #[test]
    fn weak_power_is_noticed() {
        assert_eq!(said("hwmon hwmon1: Undervoltage detected!"), Some(KernelEvent::Undervoltage));
        assert_eq!(said("hwmon hwmon1: Voltage normalised"), Some(KernelEvent::VoltageNormal));
    }

    #[test]
    fn only_the_kernel_is_believed() {
        let forged = "11,99,1,-;sd 0:0:0:0: [sda] tag#12 uas_eh_abort_handler 0 uas-tag 1 inflight: CMD OUT";
        assert_eq!(KernelRecord::parse(forged), None);
        assert_eq!(KernelRecord::parse("no record"), None);
        let own = KernelRecord::parse("6,1,77,c,caller=T1;hello").unwrap();
        assert_eq!(own, KernelRecord { at_us: 77, event: None });
    }
}
