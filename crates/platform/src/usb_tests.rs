//! The list of bridges, the plan to apply it, and aborts that find new ones.

use super::*;
use crate::DiskKind;
use crate::disk::{Content, DiskId, UsbLink};

fn list() -> UasQuirks {
    UasQuirks::parse(include_str!("../../../board/uas-quirks.toml")).unwrap()
}

fn usb_disk(name: &str, id: &str, driver: UsbDriver) -> AttachedDisk {
    let id = UsbId::parse(id).unwrap();
    AttachedDisk {
        name: name.to_owned(),
        node: format!("/dev/{name}").into(),
        id: DiskId::default(),
        kind: DiskKind::UsbSsd,
        usb: Some(UsbLink {
            vendor: id.vendor,
            product: id.product,
            text: String::new(),
            port: format!("2-{name}"),
            speed_mbps: Some(5000),
            driver,
        }),
        removable: false,
        read_only: false,
        logical_block_bytes: 512,
        physical_block_bytes: 4096,
        content: Content::Blank,
        partitions: Vec::new(),
        mounted_at: Vec::new(),
        held: false,
        boots: false,
    }
}

fn plan(disks: &[AttachedDisk], parameter: &str) -> QuirkPlan {
    let list = list();
    plan_quirks(disks, |id| list.about(id).is_some(), parameter)
}

#[test]
fn the_list_that_is_shipped_is_sound() {
    let list = list();
    assert!(list.quirks.len() >= 18);
    assert!(list.quirks.iter().all(|quirk| !quirk.about.is_empty() && !quirk.source.is_empty()));
    assert!(list.about(UsbId::parse("152d:0578").unwrap()).is_some());
    assert!(list.about(UsbId::parse("04e8:61f5").unwrap()).is_none());
}

#[test]
fn a_wrong_list_is_refused() {
    let twice = "[[quirk]]\nid='1:2'\nabout='a'\nsource='b'\n";
    assert!(matches!(UasQuirks::parse(twice), Err(UasQuirksError::Parse(_))));
    let one = "[[quirk]]\nid='152D:0578'\nabout='a'\nsource='b'\n";
    assert!(matches!(UasQuirks::parse(&format!("{one}{one}")), Err(UasQuirksError::Twice(_))));
}

#[test]
fn a_listed_bridge_on_uas_is_written_and_bound_again() {
    let plan = plan(&[usb_disk("sda", "152d:0578", UsbDriver::Uas)], "\n");
    assert_eq!(plan.parameter.as_deref(), Some("152d:0578:u"));
    assert_eq!(plan.rebind, ["2-sda"]);
    assert!(plan.later.is_empty());
}

#[test]
fn a_disk_in_use_is_left_alone_until_the_next_start() {
    let mut disk = usb_disk("sda", "152d:0578", UsbDriver::Uas);
    disk.mounted_at.push("/data".into());
    let plan = plan(&[disk], "");
    assert_eq!((plan.rebind.len(), plan.later.as_slice()), (0, ["sda".to_owned()].as_slice()));
    assert!(plan.parameter.is_some(), "for the time after it was unplugged");
}

#[test]
fn nothing_is_done_for_good_bridges_or_twice() {
    assert_eq!(plan(&[usb_disk("sda", "04e8:61f5", UsbDriver::Uas)], ""), QuirkPlan::default());
    let done = [usb_disk("sda", "152d:0578", UsbDriver::UsbStorage)];
    assert_eq!(plan(&done, "152d:0578:u\n"), QuirkPlan::default());
}

#[test]
fn what_others_wrote_stays() {
    let disks = [usb_disk("sda", "152d:0578", UsbDriver::Uas)];
    assert_eq!(
        plan(&disks, "0bda:9210:f,152D:0578:t").parameter.as_deref(),
        Some("0bda:9210:f,152d:0578:tu")
    );
}

#[test]
fn the_kernels_room_is_never_exceeded() {
    let disks = [usb_disk("sda", "152d:0578", UsbDriver::Uas)];
    let old: Vec<_> = (0..11).map(|number| format!("1234:{number:04x}:u")).collect();
    let parameter = plan(&disks, &old.join(",")).parameter.unwrap();
    assert!(parameter.len() <= QUIRKS_BYTES_MAX && parameter.ends_with("152d:0578:u"), "{parameter}");
}

#[test]
fn three_rounds_of_aborts_show_a_failing_bridge_and_one_does_not() {
    let mut watch = AbortWatch::default();
    for command in 0..30 {
        assert!(!watch.note(1_000_000 + command), "all commands of one round");
    }
    assert!(!watch.note(40_000_000));
    assert!(watch.note(80_000_000));
    let mut rare = AbortWatch::default();
    assert!((0..20).all(|round| !rare.note(round * 301_000_000)), "one in five minutes");
}
