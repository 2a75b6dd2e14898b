//! Images with planted faults: each must be found, by the model that it concerns.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use platform::board::Partitions;

use super::*;
use crate::write_table;

/// What the Pi image's slots hold, but for our own list.
const RPI: &[&str] = &[
    "cmdline.txt",
    "kernel8.img",
    "initramfs.zst",
    "start.elf",
    "fixup.dat",
    "start4.elf",
    "fixup4.dat",
    "bcm2710-rpi-3-b.dtb",
    "bcm2710-rpi-3-b-plus.dtb",
    "bcm2710-rpi-zero-2-w.dtb",
    "bcm2711-rpi-4-b.dtb",
    "bcm2711-rpi-400.dtb",
    "bcm2712-rpi-5-b.dtb",
    "base.squashfs",
    "perch.squashfs",
];

struct Card {
    image: File,
    layout: Layout,
}

/// A whole image for all models, with the project's own `config.txt`; `change` may alter a slot's files before they are
/// written.
fn card(change: impl Fn(u8, &mut BTreeMap<String, Vec<u8>>)) -> Card {
    let layout = Layout::of(&Partitions { boot_mib: 64, slot_mib: 64, align_mib: 4 }).unwrap();
    let image = tempfile::tempfile().unwrap();
    image.set_len(layout.size_bytes()).unwrap();
    write_table(&image, &layout, 1).unwrap();
    let boot = Fat::format(&image, layout.boot, "PERCH", 1).unwrap();
    boot.write(AUTOBOOT_FILE, &mut &slot::autoboot(2, 3)[..]).unwrap();
    for name in ["perch.toml", "bootcode.bin"] {
        boot.write(name, &mut &b"x"[..]).unwrap();
    }
    let config = fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../image/slot/rpi/config.txt"));
    for place in layout.slots {
        let mut files: BTreeMap<String, Vec<u8>> =
            RPI.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect();
        files.insert("config.txt".to_owned(), config.as_ref().unwrap().clone());
        files.insert(RELEASE_FILE.to_owned(), b"version=1\nboard=rpi\n".to_vec());
        change(place.number, &mut files);
        let folder = tempfile::tempdir().unwrap();
        let paths = files.iter().map(|(name, content)| {
            let path = folder.path().join(name.replace('/', "-"));
            fs::write(&path, content).unwrap();
            (name.clone(), path)
        });
        let fat = Fat::format(&image, place, "SLOT", 2).unwrap();
        slot::write(&fat, &paths.collect()).unwrap();
    }
    Card { image, layout }
}

impl Card {
    fn findings(&self) -> Vec<String> {
        check(&self.image, &self.layout).unwrap().iter().map(ToString::to_string).collect()
    }

    fn slot(&self) -> Fat<'_> {
        Fat::new(&self.image, self.layout.slots[1])
    }

    fn boot(&self) -> Fat<'_> {
        Fat::new(&self.image, self.layout.boot)
    }
}

fn config(files: &mut BTreeMap<String, Vec<u8>>, line: &str) {
    files.get_mut("config.txt").unwrap().extend(format!("{line}\n").into_bytes());
}

#[test]
fn a_whole_image_is_clean() {
    assert_eq!(card(|_, _| ()).findings(), Vec::<String>::new());
}

#[test]
fn each_file_of_a_slot_is_missed_by_the_models_that_need_it() {
    for (file, expected) in [
        ("start.elf", vec!["p3, Pi3: `start.elf` is missing", "p3, Zero2W: `start.elf` is missing"]),
        ("fixup4.dat", vec!["p3, Pi4: `fixup4.dat` is missing"]),
        ("bcm2712-rpi-5-b.dtb", vec!["p3, Pi5: `bcm2712-rpi-5-b.dtb` is missing"]),
        (
            "bcm2710-rpi-zero-2-w.dtb",
            vec!["p3, Zero2W: `bcm2710-rpi-zero-2-w.dtb` or `bcm2837-rpi-zero-2-w.dtb` is missing"],
        ),
        ("base.squashfs", vec!["p3: `base.squashfs` is missing"]),
    ] {
        let card = card(|number, files| {
            if number == 3 {
                files.remove(file);
            }
        });
        assert_eq!(card.findings(), expected, "without {file}");
    }
    for file in ["kernel8.img", "initramfs.zst", "cmdline.txt", "config.txt"] {
        let findings = card(|number, files| drop((number == 2).then(|| files.remove(file)))).findings();
        assert_eq!(findings.len(), 4, "every model misses {file}: {findings:?}");
    }
}

#[test]
fn what_config_txt_names_must_be_there() {
    let named = card(|_, files| {
        config(files, "[pi5]\ndtoverlay=i2c-rtc,ds3231\n[pi4]\nkernel=other.img\n[all]\ngpu_mem=16");
    });
    let findings = named.findings();
    let of_slot = |number: u8| findings.iter().filter(|line| line.starts_with(&format!("p{number}"))).count();
    assert_eq!((of_slot(2), of_slot(3)), (8, 8), "{findings:?}");
    for expected in [
        "p2, Pi5: `overlays/i2c-rtc.dtbo` is missing",
        "p2, Pi4: `other.img` is missing",
        "p2, Pi4: `start4cd.elf` is missing",
        "p2, Pi3: `start_cd.elf` is missing",
        "p2, Zero2W: `fixup_cd.dat` is missing",
    ] {
        assert!(findings.iter().any(|line| line == expected), "{expected} in {findings:?}");
    }
}

#[test]
fn settings_that_the_check_cannot_follow_are_told() {
    let findings = card(|number, files| {
        if number == 2 {
            config(files, "os_prefix=a/\n[gpio4=1]\nkernel=b.img");
        }
    });
    let findings = findings.findings();
    assert_eq!(findings.iter().filter(|line| line.contains("`os_prefix` is set")).count(), 4);
    assert_eq!(findings.iter().filter(|line| line.contains("[gpio4=1]")).count(), 4);
}

#[test]
fn a_slot_that_is_not_what_its_list_says_is_told() {
    let changed = card(|_, _| ());
    changed.slot().overwrite("kernel8.img", b"K").unwrap();
    assert_eq!(changed.findings(), ["p3: `kernel8.img` is not what `slot.sum` says"]);
    let more = card(|_, _| ());
    more.slot().write("stray", &mut &b"x"[..]).unwrap();
    assert_eq!(more.findings(), ["p3: `stray` is not in `slot.sum`"]);
    let less = card(|_, _| ());
    less.slot().remove("bcm2711-rpi-400.dtb").unwrap();
    assert_eq!(
        less.findings(),
        ["p3: `bcm2711-rpi-400.dtb` of `slot.sum` is missing", "p3, Pi4: `bcm2711-rpi-400.dtb` is missing"]
    );
}

#[test]
fn a_slot_that_is_too_full_is_told() {
    let full = card(|_, _| ());
    full.slot().write("more", &mut std::io::Read::take(std::io::repeat(0), 45 << 20)).unwrap();
    let findings = full.findings();
    assert!(findings.iter().any(|line| line.contains("% full, more than 60 %")), "{findings:?}");
}

#[test]
fn the_first_partition_is_looked_at_too() {
    let card = card(|_, _| ());
    card.boot().remove("bootcode.bin").unwrap();
    card.boot().overwrite(AUTOBOOT_FILE, &b"[all]\nboot_partition=4\n"[..]).unwrap();
    card.boot().remove("perch.toml").unwrap();
    let findings = card.findings();
    assert!(findings.contains(&"p1, Pi3: `bootcode.bin` is missing".to_owned()), "{findings:?}");
    assert!(!findings.iter().any(|line| line.contains("Pi5")), "a Pi 5 needs none");
    assert!(findings.contains(&"p1: `perch.toml` is missing".to_owned()));
    assert!(findings.iter().any(|line| line.starts_with("p1: `autoboot.txt` is not one of")));
}

#[test]
fn two_boards_on_one_card_are_told() {
    let findings = card(|number, files| {
        if number == 3 {
            files.insert(RELEASE_FILE.to_owned(), b"board=qemu-virt\n".to_vec());
        }
    });
    assert!(findings.findings().contains(&"p0: the slots are for two boards: rpi and qemu-virt".to_owned()));
    let unknown = card(|_, files| drop(files.insert(RELEASE_FILE.to_owned(), b"board=toaster\n".to_vec())));
    assert!(unknown.findings().iter().any(|line| line.contains("no known board: `toaster`")));
}
