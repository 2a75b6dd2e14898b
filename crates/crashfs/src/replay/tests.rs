//! The generator itself: it must lose what was not synced, and must not lose what was.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;

use super::{Manner, Replay, SECTOR_BYTES};
use crate::{Disk, Honesty, Image};

/// Cuts per point and manner.
const CUTS: usize = 24;

fn disk() -> Arc<Disk> {
    let disk = Disk::new(Honesty::default()).unwrap();
    disk.make_dir(&path("d")).unwrap();
    disk.sync_dir(&disk.root()).unwrap();
    disk
}

fn path(below: &str) -> PathBuf {
    Path::new("/crashfs").join(below)
}

fn write(disk: &Arc<Disk>, name: &str, bytes: &[u8], sync: bool) {
    let file = disk.open(&path(name), true).unwrap();
    file.write_at(0, bytes).unwrap();
    if sync {
        file.sync().unwrap();
    }
}

/// All states of cuts at the end of the log.
fn ends(disk: &Disk) -> Vec<Image> {
    states(disk, disk.position()..=disk.position())
}

fn states(disk: &Disk, positions: std::ops::RangeInclusive<usize>) -> Vec<Image> {
    let (log, mut rng) = (disk.log(), Rng::with_seed(7));
    let mut replay = Replay::new(&log);
    let mut images = Vec::new();
    for position in positions {
        replay.advance_to(position);
        for manner in Manner::ALL {
            images.extend((0..CUTS).map(|_| replay.cut(&mut rng, manner)));
        }
    }
    images
}

fn content<'i>(image: &'i Image, name: &str) -> Option<&'i [u8]> {
    image.files.get(Path::new(name)).map(|content| content.as_slice())
}

#[test]
fn a_program_that_omits_fsync_loses_data() {
    let disk = disk();
    write(&disk, "d/a", b"hello", false);
    disk.sync_dir(&path("d")).unwrap();
    let images = ends(&disk);
    assert!(images.iter().all(|image| image.dropped > 0));
    assert!(images.iter().any(|image| content(image, "d/a") == Some(b"")));
    assert!(images.iter().any(|image| content(image, "d/a") == Some(&[0; 5])), "a length without its data");
    assert!(
        images.iter().all(|image| content(image, "d/a") != Some(b"hello")),
        "one thing is always dropped"
    );
}

#[test]
fn a_program_that_syncs_file_and_folder_loses_nothing() {
    let disk = disk();
    write(&disk, "d/a", b"hello", true);
    disk.sync_dir(&path("d")).unwrap();
    for image in ends(&disk) {
        assert_eq!((content(&image, "d/a"), image.open_choices), (Some(&b"hello"[..]), 0));
    }
}

#[test]
fn a_synced_file_in_a_folder_that_was_not_synced_may_be_missing() {
    let disk = disk();
    write(&disk, "d/a", b"hello", true);
    assert!(ends(&disk).iter().all(|image| content(image, "d/a").is_none()), "the only choice is dropped");
    write(&disk, "d/b", b"world", true);
    let images = ends(&disk);
    assert!(images.iter().any(|image| content(image, "d/a").is_some() && content(image, "d/b").is_none()));
    assert!(images.iter().any(|image| content(image, "d/a").is_none() && content(image, "d/b").is_some()));
}

#[test]
fn a_file_renamed_without_fsync_may_be_empty_and_never_was_the_old_one() {
    let disk = disk();
    write(&disk, "d/a", b"old", true);
    disk.sync_dir(&path("d")).unwrap();
    write(&disk, "d/a.tmp", b"new", false);
    disk.rename(&path("d/a.tmp"), &path("d/a")).unwrap();
    disk.sync_dir(&path("d")).unwrap();
    let images = ends(&disk);
    assert!(images.iter().any(|image| content(image, "d/a") == Some(b"")));
    assert!(images.iter().all(|image| content(image, "d/a.tmp").is_none()));
}

#[test]
fn the_right_order_shows_the_old_or_the_new_file_at_every_point() {
    let disk = disk();
    write(&disk, "d/a", b"old", true);
    disk.sync_dir(&path("d")).unwrap();
    let start = disk.position();
    write(&disk, "d/a.tmp", b"new", true);
    disk.rename(&path("d/a.tmp"), &path("d/a")).unwrap();
    let renamed = disk.position();
    disk.sync_dir(&path("d")).unwrap();
    let images = states(&disk, start..=disk.position());
    assert!(images.iter().all(|image| matches!(content(image, "d/a"), Some(b"old" | b"new"))));
    assert!(states(&disk, renamed..=renamed).iter().any(|image| content(image, "d/a") == Some(b"old")));
    assert!(ends(&disk).iter().all(|image| content(image, "d/a") == Some(b"new")));
}

#[test]
fn a_synced_file_is_never_lost_by_names_that_move() {
    let disk = disk();
    disk.make_dir(&path("e")).unwrap();
    disk.sync_dir(&disk.root()).unwrap();
    write(&disk, "d/a", b"precious", true);
    disk.sync_dir(&path("d")).unwrap();
    let start = disk.position();
    disk.rename(&path("d/a"), &path("d/b")).unwrap();
    write(&disk, "d/a", b"other", false);
    disk.rename(&path("d/b"), &path("e/c")).unwrap();
    disk.sync_dir(&path("d")).unwrap();
    write(&disk, "e/d", b"more", false);
    disk.sync_dir(&path("e")).unwrap();
    for image in states(&disk, start..=disk.position()) {
        let found = image.files.values().filter(|content| content.as_slice() == b"precious").count();
        assert!(found >= 1, "{image:?}");
    }
}

#[test]
fn between_folders_the_old_name_may_stay_until_its_folder_is_synced() {
    let disk = disk();
    disk.make_dir(&path("e")).unwrap();
    disk.sync_dir(&disk.root()).unwrap();
    write(&disk, "d/a", b"x", true);
    disk.sync_dir(&path("d")).unwrap();
    disk.rename(&path("d/a"), &path("e/a")).unwrap();
    disk.sync_dir(&path("e")).unwrap();
    assert!(
        ends(&disk).iter().all(|image| content(image, "e/a").is_some() && content(image, "d/a").is_some())
    );
    disk.sync_dir(&path("d")).unwrap();
    assert!(
        ends(&disk).iter().all(|image| content(image, "e/a").is_some() && content(image, "d/a").is_none())
    );
}

#[test]
fn a_folder_that_was_not_synced_hides_what_is_in_it() {
    let disk = disk();
    disk.make_dir(&path("d/e")).unwrap();
    write(&disk, "d/e/a", b"x", true);
    disk.sync_dir(&path("d/e")).unwrap();
    assert!(ends(&disk).iter().all(|image| image.files.is_empty()));
    disk.sync_dir(&path("d")).unwrap();
    assert!(ends(&disk).iter().all(|image| content(image, "d/e/a") == Some(b"x")));
}

#[test]
fn writes_tear_between_sectors_and_never_within_one() {
    let disk = disk();
    write(&disk, "d/a", &[1; 4 * SECTOR_BYTES], true);
    disk.sync_dir(&path("d")).unwrap();
    let file = disk.open(&path("d/a"), false).unwrap();
    file.write_at(100, &[2; 1000]).unwrap();
    file.write_at(600, &[3; 1000]).unwrap();
    let expected = |sector: usize, version: usize| -> Vec<u8> {
        let mut whole = vec![1; 4 * SECTOR_BYTES];
        if version >= 1 {
            whole[100..1100].fill(2);
        }
        if version >= 2 {
            whole[600..1600].fill(3);
        }
        whole[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES].to_vec()
    };
    let images = ends(&disk);
    let mut mixed = false;
    for image in &images {
        let shown = content(image, "d/a").unwrap();
        assert_eq!(shown.len(), 4 * SECTOR_BYTES);
        let versions: Vec<usize> = shown
            .chunks(SECTOR_BYTES)
            .enumerate()
            .map(|(at, sector)| {
                (0..3).find(|version| expected(at, *version) == sector).expect("no such state")
            })
            .collect();
        mixed |= versions[1] == 2 && versions[2] == 0;
    }
    assert!(mixed, "later sectors lag behind earlier ones in some state");
}

#[test]
fn a_cut_file_may_keep_its_old_end() {
    let disk = disk();
    write(&disk, "d/a", &[1; 2000], true);
    disk.sync_dir(&path("d")).unwrap();
    let file = disk.open(&path("d/a"), false).unwrap();
    file.truncate(100).unwrap();
    let lens: Vec<usize> = ends(&disk).iter().map(|image| content(image, "d/a").unwrap().len()).collect();
    assert!(lens.contains(&2000) && lens.contains(&100));
    assert!(ends(&disk).iter().all(|image| content(image, "d/a").unwrap()[..100] == [1; 100]));
    file.sync().unwrap();
    assert!(ends(&disk).iter().all(|image| content(image, "d/a") == Some(&[1; 100])));
}

#[test]
fn a_seed_gives_the_same_states_again_and_images_become_files() {
    let disk = disk();
    write(&disk, "d/a", &[1; 3000], true);
    write(&disk, "d/b", &[2; 3000], false);
    let prints = |images: Vec<Image>| images.iter().map(Image::fingerprint).collect::<Vec<_>>();
    assert_eq!(prints(states(&disk, 0..=disk.position())), prints(states(&disk, 0..=disk.position())));
    disk.sync_dir(&path("d")).unwrap();
    let target = crate::scratch().unwrap();
    let images = ends(&disk);
    images[0].write_to(target.path()).unwrap();
    assert_eq!(std::fs::read(target.path().join("d/a")).unwrap(), [1; 3000]);
}
