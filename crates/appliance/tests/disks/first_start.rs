//! The first start from a flashed medium: ids of its own, room to the end, and cuts in between.

use std::os::unix::fs::FileExt;

use super::*;

/// The image's table (docs/design/013-image.md): FAT of 64 MiB, two slots of 256 MiB, data of 64 MiB.
const IMAGE: [(u8, u32, u32); 4] = [(0x0c, 4, 64), (0x0c, 68, 256), (0x0c, 324, 256), (0x83, 580, 64)];

/// Where the table has the type of its fourth partition.
const TYPE_AT: u64 = 446 + 3 * 16 + 4;

/// The data place of the box, as it is after a start.
fn place(bench: &Bench) -> platform::volumes::SeenVolume {
    let disks = bench.volumes(false).scan().unwrap();
    disks[0].volumes.iter().find(|volume| volume.is_data_place).unwrap().clone()
}

fn uuid(node: &str) -> String {
    run("blkid", &["-p", "-s", "UUID", "-o", "value", node])
}

fn is_settled(status: &PlacementStatus) -> bool {
    matches!(status.data, Placement::Live { .. } | Placement::Held { .. })
}

fn starts(bench: &Bench) {
    let status = run_until(bench.volumes(false), &unlimited(), is_settled);
    assert!(is_live(&status), "{status:?}");
}

#[test]
fn the_image_s_fourth_partition_takes_the_card_while_the_first_is_in_use() {
    if !can_make_disks() {
        return;
    }
    let bench = Bench::with(&table(IMAGE), 1000 * MIB + 512);
    let (first, fourth) = (format!("{}p1", bench.card.node), format!("{}p4", bench.card.node));
    for node in [&first, &fourth] {
        run("mkfs.ext4", &["-q", "-U", "07070707-0707-0707-0707-070707070707", node]);
    }
    let boot = bench.dir.path().join("boot");
    fs::create_dir(&boot).unwrap();
    run("mount", &["-o", "ro", &first, boot.to_str().unwrap()]);
    let before = bench.volumes(false).scan().unwrap()[0].clone();
    starts(&bench);
    let after = bench.volumes(false).scan().unwrap()[0].clone();
    assert_eq!(place(&bench).size_bytes, 420 * MIB, "up to the last whole 4 MiB");
    assert!(matches!(place(&bench).holds, Holds::Marked(_)));
    assert_ne!(uuid(&fourth), "07070707-0707-0707-0707-070707070707");
    for (old, new) in before.volumes.iter().zip(&after.volumes) {
        assert_ne!(old.id, new.id, "the signature is in each partition's id");
        assert_eq!(old.holds == new.holds, old.number != 4, "{new:?}");
    }
    let layout = run("sfdisk", &["-d", &bench.card.node]);
    assert!(layout.contains("start=     1187840, size=      860160, type=83"), "{layout}");
    assert_eq!(layout.matches("type=c").count(), 3, "{layout}");
}

#[test]
fn a_first_start_that_was_cut_anywhere_is_begun_again() {
    if !can_make_disks() {
        return;
    }
    // What a cut leaves, from the first step to the last: is the partition grown, is it marked as being made, and is
    // its file system the image's (none), half made or whole.
    for (grown, being_made, content) in [
        (false, false, "none"),
        (true, true, "none"),
        (true, true, "half"),
        (true, true, "whole"),
        (true, false, "whole"),
    ] {
        let kind = if being_made { 0x7f } else { 0x83 };
        let bench = Bench::with(&table([NONE, NONE, NONE, (kind, 4, if grown { 60 } else { 16 })]), 64 * MIB);
        let node = format!("{}p4", bench.card.node);
        if content != "none" {
            run("mkfs.ext4", &["-q", &node]);
        }
        if content == "half" {
            // Superblocks are written last.
            run("dd", &["if=/dev/zero", "bs=64K", "count=1", "conv=notrunc", &format!("of={node}")]);
        }
        starts(&bench);
        let bytes = fs::read(bench.dir.path().join("card.img")).unwrap();
        assert_eq!(bytes[usize::try_from(TYPE_AT).unwrap()], 0x83, "{content} {being_made}");
        assert_eq!(place(&bench).size_bytes, 60 * MIB);
        // The second start finds the box that the first has founded.
        let marks = bench.marks();
        starts(&bench);
        assert_eq!((bench.marks(), marks.len()), (marks, 1));
    }
}

#[test]
fn what_is_marked_as_being_made_on_a_disk_that_did_not_start_the_box_is_somebody_s() {
    if !can_make_disks() {
        return;
    }
    let bench = Bench::with(&table([NONE, NONE, NONE, (0x7f, 4, 16)]), 64 * MIB);
    run("mkfs.ext4", &["-q", &format!("{}p4", bench.card.node)]);
    let scratch = bench.dir.path().join("scratch");
    let volumes = LinuxVolumes::new(&bench.live(), &scratch).only(bench.card.name(), DiskKind::Sd, false);
    let seen = { volumes }.scan().unwrap().remove(0).volumes.remove(0);
    assert!(!seen.is_data_place && matches!(seen.holds, Holds::Foreign(_)), "{seen:?}");
}

#[test]
fn a_boot_disk_with_another_table_is_refused_in_words_and_not_written() {
    if !can_make_disks() {
        return;
    }
    let bench = Bench::with(b"", 64 * MIB);
    let script = bench.dir.path().join("gpt");
    fs::write(&script, "label: gpt\nsize=4M\nsize=4M\nsize=4M\nsize=16M\n").unwrap();
    run("sh", &["-c", &format!("sfdisk -q {} < {}", bench.card.node, script.display())]);
    let before = fs::read(bench.dir.path().join("card.img")).unwrap();
    let held = |status: &PlacementStatus| matches!(status.data, Placement::Held { .. });
    let status = run_until(bench.volumes(false), &unlimited(), held);
    let Placement::Held { title, why } = &status.data else { panic!("{status:?}") };
    assert_eq!(title, "NO PLACE FOR DATA", "the fourth partition of a GPT may be anything");
    assert!(why.contains("Flash the card again"), "{why}");
    assert!(before == fs::read(bench.dir.path().join("card.img")).unwrap(), "it was written to");
}

#[test]
fn of_two_media_of_one_image_at_once_only_the_one_that_was_started_from_is_changed() {
    if !can_make_disks() {
        return;
    }
    let bench = Bench::with(&table([NONE, NONE, NONE, (0x83, 4, 16)]), 64 * MIB);
    run("mkfs.ext4", &["-q", &format!("{}p4", bench.card.node)]);
    let copy = fs::read(bench.dir.path().join("card.img")).unwrap();
    bench.ssd_image().write_all_at(&copy, 0).unwrap();
    run("partx", &["-a", &bench.ssd.node]);
    let ids = |bench: &Bench| -> Vec<VolumeId> {
        bench.volumes(true).scan().unwrap().iter().map(|disk| disk.volumes[0].id.clone()).collect()
    };
    assert_eq!(ids(&bench)[0], ids(&bench)[1], "flashed with the same image");
    // Live before it asks about the other: nobody has answered anything yet.
    let status = run_until(bench.volumes(true), &unlimited(), is_settled);
    assert!(is_live(&status), "{status:?}");
    assert_ne!(ids(&bench)[0], ids(&bench)[1]);
    let nodes = [&bench.card.node, &bench.ssd.node].map(|node| uuid(&format!("{node}p4")));
    assert_ne!(nodes[0], nodes[1]);
    assert!(copy == fs::read(bench.dir.path().join("ssd.img")).unwrap(), "the other was written to");
    assert_eq!(bench.marks().len(), 1);
}

#[test]
fn the_note_of_a_given_up_disk_is_another_one_each_time() {
    if !can_make_disks() {
        return;
    }
    let bench = founded();
    let mut volumes = bench.volumes(false);
    let id = volumes.scan().unwrap()[0].volumes[0].id.clone();
    let folder = volumes.mount(&id, MountPlace::Live).unwrap();
    let notes = [0; 2].map(|_| {
        volumes.note_jump(&id).unwrap();
        fs::read_to_string(folder.join("pds/sequence-jump")).unwrap()
    });
    assert_ne!(notes[0], notes[1]);
    assert!(notes.iter().all(|note| note.len() == 37), "{notes:?}");
    volumes.unmount(MountPlace::Live, false).unwrap();
}

#[test]
fn two_cards_of_one_image_are_told_apart_after_their_first_start() {
    if !can_make_disks() {
        return;
    }
    let (one, other) = (founded(), founded());
    let id = |bench: &Bench| bench.volumes(false).scan().unwrap()[0].volumes[0].id.clone();
    assert_ne!(id(&one), id(&other));
    let uuid =
        |bench: &Bench| run("blkid", &["-p", "-s", "UUID", "-o", "value", &format!("{}p4", bench.card.node)]);
    assert_ne!(uuid(&one), uuid(&other));
}
