//! A freshly flashed card in a machine with the memory of the smallest model: from the firmware's choice of a slot to the
//! answer of the PDS, and what the system looks like then.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::http::Http;
use image::firmware::Reset;
use testbed::{Machine, Setup, appliance::Appliance, flashed::Flashed, free_port};

/// Memory of the machine, MiB: what the firmware leaves of a Zero 2 W's 512 MB, and less.
const MEMORY_MIB: u32 = 400;

/// Most memory in use once it serves, KiB.
const USED_MAX_KIB: u64 = 140 * 1024;

/// Wait for the box to serve; some 20 s of emulation on an idle computer.
const START_LIMIT: Duration = Duration::from_secs(300);

/// The image that `cargo xtask image` made last.
fn image() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/image");
    let entries = fs::read_dir(&folder).expect("run `cargo xtask test --only image`, which makes the image");
    let mut found = entries.flatten().map(|entry| entry.path());
    found
        .find(|path| path.extension().is_some_and(|ending| ending == "img"))
        .expect("no image in target/image")
}

/// Waits until the PDS answers a client from outside.
fn wait_until_serving(machine: &Machine, port: u16) {
    let until = Instant::now() + START_LIMIT;
    let answers = || {
        let mut http = Http::connect(&format!("127.0.0.1:{port}")).ok()?;
        let request = http.request("GET", "/xrpc/_health", None, None);
        http.send(&request).ok().map(|answer| answer.status)
    };
    while answers() != Some(200) {
        if Instant::now() > until || !machine.is_running() {
            let said = machine.run("perchctl status; cat /proc/mounts").map(|done| done.text());
            panic!("no answer\n{said:?}\n{}", machine.serial_log());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn meminfo_kib(machine: &Machine, key: &str) -> u64 {
    let line = machine.sh(&format!("grep ^{key}: /proc/meminfo")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn signature(card: &Path) -> [u8; 4] {
    let mut sector = [0; 512];
    fs::File::open(card).unwrap().read_exact(&mut sector).unwrap();
    sector[440..444].try_into().unwrap()
}

#[test]
fn a_flashed_card_boots_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let card = Flashed::new(&image(), &folder.path().join("card.img")).unwrap();
    let flashed_signature = signature(card.path());
    let flashed = card.partitions().unwrap();
    let (pds_port, panel_port) = (free_port().unwrap(), free_port().unwrap());
    let setup = card.system(Setup::new().memory_mib(MEMORY_MIB), Reset::Cold, folder.path()).unwrap();
    let appliance = Appliance::around(setup, card.path(), pds_port, panel_port).unwrap();
    card.write_settings(&appliance.settings).unwrap();

    let machine = appliance.boot().unwrap();
    wait_until_serving(&machine, pds_port);
    println!(
        "{}",
        machine.sh("cat /proc/uptime /etc/os-release; cat /proc/mounts; perchctl status").unwrap()
    );

    // The slot that the firmware chose, said by its words on the command line.
    assert!(machine.sh("cat /proc/cmdline").unwrap().contains("perch.partition=2 perch.tryboot=0"));
    // It is a test image, and says so.
    assert!(machine.sh("cat /etc/os-release").unwrap().contains("VARIANT_ID=debian-test"));

    // The system is in memory and cannot be changed, by root either.
    for place in ["/new", "/etc/new", "/usr/bin/new", "/boot/new"] {
        let done = machine.run(&format!("echo x >{place}")).unwrap();
        assert!(done.code != 0 && done.error_text().contains("Read-only"), "{place}: {}", done.error_text());
    }
    assert_ne!(machine.run("mount -o remount,rw / && echo x >/etc/new").unwrap().code, 0, "no upper layer");
    let mounts = machine.sh("cat /proc/mounts").unwrap();
    let of_card: Vec<&str> = mounts.lines().filter(|line| line.starts_with("/dev/mmcblk0")).collect();
    let boot =
        of_card.iter().find(|line| line.contains(" /boot vfat ro,")).unwrap_or_else(|| panic!("{mounts}"));
    assert!(boot.contains("nosuid,nodev,noexec"), "{boot}");
    // Nobody but root reads the owner's settings.
    assert_eq!(machine.sh("stat -c %a /boot/perch.toml").unwrap(), "700");

    // Memory, in the smallest machine.
    let used = meminfo_kib(&machine, "MemTotal") - meminfo_kib(&machine, "MemAvailable");
    println!("memory in use: {used} KiB of {}", meminfo_kib(&machine, "MemTotal"));
    assert!(used <= USED_MAX_KIB, "{used} KiB are in use");

    // The data has the rest of the card, and the card an identity of its own.
    assert!(mounts.lines().any(|line| line.starts_with("/dev/mmcblk0p4 /data ext4 rw")), "{mounts}");
    let size_kib: u64 = machine.sh("df -k /data | awk 'END { print $2 }'").unwrap().parse().unwrap();
    let before = flashed.iter().find(|place| place.number == 4).unwrap();
    println!("data: {size_kib} KiB, in the image {} KiB", before.size_bytes / 1024);
    assert!(size_kib * 1024 > before.size_bytes * 4, "it did not grow");
    machine.switch_off().unwrap();
    assert_ne!(signature(card.path()), flashed_signature);
    let after = card.partitions().unwrap();
    assert_eq!(after[..3], flashed[..3], "the system's partitions are where they were");
    assert_eq!(after[3].start_bytes, flashed[3].start_bytes);
}
