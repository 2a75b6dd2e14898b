//! Which chip is taken, on trees as sysfs has them.

use super::*;

fn tree(chips: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("dev")).unwrap();
    for (number, name) in chips {
        let folder = root.path().join("class").join(number);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("name"), format!("{name}\n")).unwrap();
        fs::write(root.path().join("dev").join(number), "").unwrap();
    }
    root
}

fn found(wiring: Option<&RtcWiring>, root: &Path) -> Option<(RtcChip, String)> {
    let (kind, chip) = find_chip(wiring, &root.join("class"), &root.join("dev"))?;
    Some((kind, format!("{chip:?}")))
}

fn wiring(chip: RtcChip, name: &str) -> RtcWiring {
    RtcWiring { chip, names: vec![name.to_owned()], bus: None, address: None }
}

#[test]
fn the_board_files_name_decides_and_not_the_number() {
    let root = tree(&[("rtc0", "rpi-rtc soc@107c000000:rpi_rtc"), ("rtc1", "rtc-pcf8523 1-0068")]);
    let wiring = wiring(RtcChip::Pcf8523, "rtc-pcf8523 1-0068");
    let (kind, chip) = found(Some(&wiring), root.path()).unwrap();
    assert!(kind == RtcChip::Pcf8523 && chip.contains("class/rtc1"), "{chip}");
}

#[test]
fn without_the_board_files_chip_another_is_taken_by_what_it_is() {
    let root = tree(&[("rtc0", "rtc-pl031 9010000.pl031"), ("rtc1", "rpi-rtc soc:rpi_rtc")]);
    let absent = wiring(RtcChip::Pcf8523, "rtc-pcf8523 1-0068");
    let (kind, chip) = found(Some(&absent), root.path()).unwrap();
    assert!(kind == RtcChip::RpiRtc && chip.contains("class/rtc1"), "{chip}");
    let root = tree(&[("rtc0", "rtc-pl031 9010000.pl031")]);
    assert_eq!(found(None, root.path()).unwrap().0, RtcChip::Other);
}

#[test]
fn a_ds3231_whose_stop_flag_cannot_be_read_is_not_taken() {
    let root = tree(&[("rtc0", "rtc-ds1307 1-0068")]);
    let bus = root.path().join("dev/i2c-1").to_string_lossy().into_owned();
    let mut wiring = wiring(RtcChip::Ds3231, "rtc-ds1307 1-0068");
    wiring.bus = Some(bus);
    wiring.address = Some(0x68);
    assert_eq!(found(Some(&wiring), root.path()), None);
    assert_eq!(found(None, root.path()), None);
}

#[test]
fn no_chip_is_none() {
    let root = tree(&[]);
    assert_eq!(found(None, root.path()), None);
    assert_eq!(found(Some(&wiring(RtcChip::Other, "x")), root.path()), None);
}
