//! Disks that are swapped, and disks that fail in the middle of a move.

use super::*;

/// A file system in memory with room for so many bytes; unmounted when dropped.
struct Room(PathBuf);

impl Room {
    fn new(folder: PathBuf, bytes: u64) -> Self {
        fs::create_dir(&folder).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", folder.to_str().unwrap()]);
        Self(folder)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Takes all room that is left.
fn fill_up(filler: &Path) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().append(true).create(true).open(filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

fn failed(status: &PlacementStatus) -> bool {
    is_live(status) && status.notes.iter().any(|note| note.contains("did not succeed"))
}

#[test]
fn a_disk_that_is_swapped_between_the_consent_and_the_erasing_is_not_written() {
    if !can_make_disks() {
        return;
    }
    let bench = founded();
    let other = bench.dir.path().join("other.img");
    image(&other, b"", 64 * MIB);
    run("mkfs.ext4", &["-q", "-F", other.to_str().unwrap()]);
    let before = fs::read(&other).unwrap();
    let (node, swapped) = (bench.ssd.node.clone(), other.clone());
    let swap = Hook(Box::new(move || {
        let _chosen = choosing();
        run("losetup", &["-d", &node]);
        run("losetup", &["-P", &node, swapped.to_str().unwrap()]);
    }));
    let status = run_with(bench.volumes(true), &unlimited(), failed, swap, || ());
    assert!(status.notes[0].contains("the disk is not as it was when it was looked at"), "{status:?}");
    assert!(before == fs::read(&other).unwrap(), "the other disk was written to");
    assert!(fs::read(bench.dir.path().join("ssd.img")).unwrap().iter().all(|byte| *byte == 0));
    assert_eq!(bench.marks(), [(1, CopyState::Whole)]);
}

#[test]
fn a_disk_that_fails_in_the_middle_of_a_move_leaves_the_data_where_it_was_and_may_go_on_later() {
    if !can_make_disks() {
        return;
    }
    let mut bench = founded();
    // A thin disk: when the room behind it ends, its writes fail as a dying disk's do.
    let room = Room::new(bench.dir.path().join("room"), 24 * MIB);
    let thin = room.0.join("ssd.img");
    image(&thin, b"", 64 * MIB);
    bench.ssd = Loop::attach(&thin);
    let filler = room.filler();
    let no_hook = || Hook(Box::new(|| ()));
    let status = run_with(bench.volumes(true), &unlimited(), failed, no_hook(), move || fill_up(&filler));
    assert!(failed(&status), "{status:?}");
    let Placement::Live { disk } = &status.data else { panic!("{status:?}") };
    assert!(disk.starts_with(DiskKind::Sd.label()), "{disk}");
    assert_eq!(bench.marks().first(), Some(&(1, CopyState::Whole)));
    assert!(look(&bench).starts_with(DiskKind::Sd.label()));

    fs::remove_file(room.filler()).unwrap();
    let status = run_until(bench.volumes(true), &unlimited(), is_moved);
    assert!(is_moved(&status), "{status:?}");
    assert!(look(&bench).starts_with(DiskKind::UsbSsd.label()));
    drop(bench);
    drop(room);
}
