//! What a disk's life leads to: figures, a caught bridge, errors, and what survives a restart.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use platform::disk::endurance::LifeLeft;
use platform::disk::{Content, Partition, UsbLink};
use platform::{DeviceError, DiskKind};

use super::*;

pub(crate) fn ssd(serial: &str) -> AttachedDisk {
    AttachedDisk {
        name: "sda".to_owned(),
        node: "/dev/sda".into(),
        id: DiskId { serial: serial.to_owned(), size_bytes: 250_000_000_000, ..DiskId::default() },
        kind: DiskKind::UsbSsd,
        usb: Some(UsbLink {
            vendor: 0x1234,
            product: 0x5678,
            text: String::new(),
            port: "2-1".to_owned(),
            speed_mbps: Some(5000),
            driver: UsbDriver::Uas,
        }),
        removable: false,
        read_only: false,
        logical_block_bytes: 512,
        physical_block_bytes: 4096,
        content: Content::Blank,
        partitions: vec![Partition {
            name: "sda1".to_owned(),
            node: "/dev/sda1".into(),
            number: 1,
            start_bytes: 4 << 20,
            size_bytes: 200_000_000_000,
            part_uuid: None,
            part_type: None,
            part_name: String::new(),
            content: Content::Blank,
            mounted_at: Vec::new(),
            held: false,
        }],
        mounted_at: Vec::new(),
        held: false,
        boots: false,
    }
}

fn record(at_s: u64, event: KernelEvent) -> KernelRecord {
    KernelRecord { at_us: at_s * 1_000_000, event: Some(event) }
}

fn abort(at_s: u64, disk: &str) -> KernelRecord {
    record(at_s, KernelEvent::UasAbort { disk: disk.to_owned() })
}

#[test]
fn a_bridge_that_loses_commands_is_caught_once_and_remembered() {
    let disk = ssd("A");
    let mut care = Care::default();
    care.meet(&disk);
    assert_eq!(care.care(&disk).bridge, BridgeState::Fast);
    assert!(!care.note_record(&abort(10, "sda"), &disk));
    assert!(!care.note_record(&abort(45, "sda"), &disk));
    assert!(care.note_record(&abort(80, "sda"), &disk), "to be saved");
    assert!(!care.note_record(&abort(115, "sda"), &disk), "known by now");
    assert_eq!(care.care(&disk).bridge, BridgeState::Failing);
    let text = serde_json::to_string(care.memory()).unwrap();
    let mut after = Care::new(serde_json::from_str(&text).unwrap());
    let mut safe = ssd("B");
    after.meet(&safe);
    assert!(after.was_caught(UsbId { vendor: 0x1234, product: 0x5678 }), "whichever disk it serves");
    safe.usb.as_mut().unwrap().driver = UsbDriver::UsbStorage;
    assert_eq!(after.care(&safe).bridge, BridgeState::Safe);
}

#[test]
fn another_disks_aborts_and_errors_are_not_ours() {
    let disk = ssd("A");
    let mut care = Care::default();
    for at_s in [10, 45, 80, 115] {
        assert!(!care.note_record(&abort(at_s, "sdb"), &disk));
    }
    let event = KernelEvent::IoError { disk: "sdb".to_owned(), write: Some(true) };
    care.note_record(&record(1, event), &disk);
    assert_eq!(care.care(&disk).io_errors, 0);
    assert!(!care.is_failing());
}

#[test]
fn a_failed_write_or_a_file_system_gone_read_only_fails_the_disk_and_a_failed_read_does_not() {
    let disk = ssd("A");
    let after = |event| {
        let mut care = Care::default();
        care.note_record(&record(1, event), &disk);
        (care.is_failing(), care.care(&disk).io_errors)
    };
    let io = |write| KernelEvent::IoError { disk: "sda".to_owned(), write };
    assert_eq!(after(io(Some(true))), (true, 1));
    assert_eq!(after(io(Some(false))), (false, 1));
    let damage = |read_only| KernelEvent::FileSystemError { device: "sda1".to_owned(), read_only };
    assert_eq!(after(damage(true)), (true, 1));
    assert_eq!(after(damage(false)), (false, 1));
    assert_eq!(after(KernelEvent::Undervoltage), (false, 0));
}

/// A disk that answers from a test's hand, and a log that was written before.
#[derive(Debug, Default)]
struct Desk {
    asked: Arc<AtomicU32>,
    written: Arc<AtomicU64>,
}

impl DiskHealth for Desk {
    fn health(&self, _: &AttachedDisk) -> Result<Health, DeviceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(Health { wear_percent: Some(7), ..Health::default() })
    }

    fn written_bytes(&self, _: &AttachedDisk) -> Option<u64> {
        Some(self.written.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Log(VecDeque<KernelRecord>);

impl KernelLog for Log {
    fn next(&mut self, limit: Duration) -> Result<Option<KernelRecord>, DeviceError> {
        assert!(limit.is_zero(), "a turn never waits for the log");
        Ok(self.0.pop_front())
    }
}

#[test]
fn the_keeper_asks_hourly_counts_by_the_minute_and_reads_the_log() {
    let disk = ssd("A");
    let desk = Desk::default();
    let (asked, written) = (desk.asked.clone(), desk.written.clone());
    let log = Log([10, 45, 80].map(|at_s| abort(at_s, "sda")).into());
    let mut keeper = Keeper::new(Box::new(desk), Some(Box::new(log)));
    let mut care = Care::default();
    assert!(keeper.turn(&mut care, &disk, 100), "a bridge was caught");
    let mut days_saved = 0;
    for minute in 1..=24 * 60 {
        written.fetch_add(1_000_000, Ordering::Relaxed);
        days_saved += u32::from(keeper.turn(&mut care, &disk, 100 + minute * 60));
    }
    assert_eq!((days_saved, asked.load(Ordering::Relaxed)), (1, 25));
    let shown = care.care(&disk);
    assert_eq!(shown.bytes_per_day, Some(1_440_000_000));
    assert_eq!((shown.health.wear_percent, shown.bridge), (Some(7), BridgeState::Failing));
    assert!(matches!(shown.life, LifeLeft::Years { years: 20, .. }), "{shown:?}");
}

#[test]
fn another_disk_starts_anew() {
    let mut keeper = Keeper::new(Box::new(Desk::default()), None);
    let mut care = Care::default();
    keeper.turn(&mut care, &ssd("A"), 10);
    care.note_speed(WriteSpeed { writes: 1, median_us: 1, worst_us: 1 });
    care.note_trim(TrimState::On);
    keeper.turn(&mut care, &ssd("A"), 20);
    assert!(!care.wants_speed());
    keeper.turn(&mut care, &ssd("B"), 30);
    assert!(care.wants_speed());
    assert_eq!(care.care(&ssd("B")).trim, TrimState::Unknown);
    assert_eq!(care.wear_percent(), Some(7), "it was asked at once");
}
