//! Health pages byte by byte: laid out as the specifications lay them out.

use super::*;

fn page(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    for (at, bytes) in parts {
        page[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    page
}

/// SMART data or thresholds: entries from byte 2, and the checksum.
fn smart(entries: &[[u8; 12]]) -> Vec<u8> {
    let mut page = page(&[(0, &[0x10, 0x00])]);
    for (number, entry) in entries.iter().enumerate() {
        page[2 + number * 12..14 + number * 12].copy_from_slice(entry);
    }
    let sum = page.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    page[511] = 0_u8.wrapping_sub(sum);
    page
}

fn attribute(id: u8, flags: u8, value: u8, raw: u32) -> [u8; 12] {
    let [r0, r1, r2, r3] = raw.to_le_bytes();
    [id, flags, 0, value, value, r0, r1, r2, r3, 0, 0, 0]
}

#[test]
fn emmc_tells_its_life_in_tenths_and_the_worse_part_counts() {
    let health = emmc("0x01 0x03\n", "0x01\n");
    assert_eq!((health.source, health.wear_percent), (HealthSource::Emmc, Some(30)));
    assert!(!health.is_failing());
    assert_eq!(emmc("0x0b 0x01", "0x03").wear_percent, Some(110));
    assert!(emmc("0x0b 0x01", "0x03").is_failing());
    assert_eq!(emmc("0x00 0x00", "0x00"), Health::default());
}

#[test]
fn an_nvme_log_is_read() {
    let written: u128 = 2_000_000;
    let log = page(&[
        (1, &311_u16.to_le_bytes()),
        (3, &[100, 10, 7]),
        (48, &written.to_le_bytes()),
        (128, &1234_u128.to_le_bytes()),
        (144, &56_u128.to_le_bytes()),
    ]);
    let health = nvme(&log).unwrap();
    assert_eq!(
        (health.wear_percent, health.spare_percent, health.temperature_c),
        (Some(7), Some(100), Some(38))
    );
    assert_eq!(health.written_bytes, Some(1_024_000_000_000));
    assert_eq!(
        (health.power_on_hours, health.unsafe_shutdowns, health.uncorrectable),
        (Some(1234), Some(56), Some(0))
    );
    assert!(!health.is_failing());
    assert_eq!(nvme(&log[..511]), None);
    assert_eq!(nvme(&[0; 512]), None);
}

#[test]
fn an_nvme_that_takes_no_more_writes_says_so_and_heat_alone_is_no_failure() {
    let warned = |warning: u8| nvme(&page(&[(0, &[warning]), (3, &[4, 10, 101])])).unwrap();
    assert_eq!(warned(0x08).alarms, ["it takes no more writes"]);
    assert_eq!(warned(0x01).wear_percent, Some(101));
    assert!(!warned(0x02).is_failing());
}

#[test]
fn attributes_of_an_ssd_are_read() {
    let data = smart(&[
        attribute(5, 0x33, 100, 2),
        attribute(9, 0x32, 99, 4321),
        attribute(177, 0x13, 88, 240),
        attribute(194, 0x22, 66, 0x0029_0022),
        attribute(197, 0x12, 100, 0),
        attribute(199, 0x3E, 100, 3),
        attribute(241, 0x32, 99, 1_000_000),
    ]);
    let identity = AtaIdentity::parse(&identify("Samsung SSD 870 EVO 500GB", 1)).unwrap();
    let health = ata_attributes(&data, &[], Some(&identity)).unwrap();
    assert_eq!((health.wear_percent, health.reallocated, health.link_errors), (Some(12), Some(2), Some(3)));
    assert_eq!((health.power_on_hours, health.temperature_c), (Some(4321), Some(34)));
    assert_eq!(health.written_bytes, Some(512_000_000));
    assert!(!health.is_failing());
    assert_eq!(
        ata_attributes(&data, &[], None).unwrap().written_bytes,
        None,
        "another maker's unit is not known"
    );
}

#[test]
fn a_disk_that_cannot_read_sectors_or_is_at_its_threshold_fails() {
    let pending = smart(&[attribute(197, 0x12, 100, 8)]);
    assert!(ata_attributes(&pending, &[], None).unwrap().is_failing());
    let data = smart(&[attribute(5, 0x33, 8, 2000)]);
    let mut limit = [0; 12];
    (limit[0], limit[1]) = (5, 10);
    let health = ata_attributes(&data, &smart(&[limit]), None).unwrap();
    assert_eq!(health.alarms, ["it expects to fail soon (SMART 5)"]);
    assert!(!ata_attributes(&data, &[], None).unwrap().is_failing());
}

#[test]
fn damaged_or_empty_pages_say_nothing() {
    let mut data = smart(&[attribute(177, 0x13, 88, 240)]);
    data[100] ^= 1;
    assert_eq!(ata_attributes(&data, &[], None), None);
    assert_eq!(ata_attributes(&smart(&[]), &[], None), None);
    assert_eq!(ata_attributes(&[], &[], None), None);
}

#[test]
fn a_hard_disk_has_no_wear() {
    let identity = AtaIdentity::parse(&identify("WDC WD10SPZX", 5400)).unwrap();
    assert_eq!(identity.is_ssd, Some(false));
    let data = smart(&[attribute(233, 0x13, 88, 240)]);
    assert_eq!(ata_attributes(&data, &[], Some(&identity)).unwrap().wear_percent, None);
}

#[test]
fn standard_statistics_win_over_the_makers_attributes() {
    let mut health = ata_attributes(&smart(&[attribute(177, 0x13, 88, 240)]), &[], None).unwrap();
    let valid = |value: u64| (3 << 62 | value).to_le_bytes();
    let general = page(&[(0, &[1, 0, 1]), (16, &valid(99)), (24, &valid(4096))]);
    let ssd = page(&[(0, &[1, 0, 7]), (8, &valid(15))]);
    add_ata_statistics(&mut health, Some(&general), Some(&ssd));
    assert_eq!((health.wear_percent, health.power_on_hours), (Some(15), Some(99)));
    assert_eq!((health.written_bytes, health.source), (Some(2_097_152), HealthSource::AtaStatistics));
    // Supported, and not valid: it is not taken.
    let unsure = page(&[(0, &[1, 0, 7]), (8, &(1_u64 << 63 | 77).to_le_bytes())]);
    add_ata_statistics(&mut health, None, Some(&unsure));
    assert_eq!(health.wear_percent, Some(15));
    add_ata_statistics(&mut health, Some(&ssd), Some(&general));
    assert_eq!(health.wear_percent, Some(15), "pages of another number");
}

fn identify(model: &str, rotation: u16) -> Vec<u8> {
    let mut text = format!("{model:<40}").into_bytes();
    text.chunks_exact_mut(2).for_each(<[u8]>::reverse);
    page(&[
        (27 * 2, &text),
        (10 * 2, b"2S3R1A L          "),
        (69 * 2, &0x4020_u16.to_le_bytes()),
        (82 * 2, &[1]),
        (85 * 2, &[1]),
        (169 * 2, &[1]),
        (217 * 2, &rotation.to_le_bytes()),
    ])
}

#[test]
fn the_identity_page_names_the_disk_and_its_trim() {
    let identity = AtaIdentity::parse(&identify("CT500MX500SSD1", 1)).unwrap();
    assert_eq!((identity.model.as_str(), identity.serial.as_str()), ("CT500MX500SSD1", "S2R3A1L"));
    assert!(identity.trims && identity.trimmed_reads_zero && identity.smart);
    assert_eq!(identity.is_ssd, Some(true));
    assert_eq!(AtaIdentity::parse(&[0; 512]), None);
}
