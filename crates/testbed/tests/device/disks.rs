//! Disks of every kind, as a real kernel attaches them: what `perch-probe` says about each.

use std::path::Path;

use testbed::{Attach, Disk, Machine, Setup};

/// Where `cargo xtask cross --quick` puts programs.
const PROBE: &str = "../../target/cross/aarch64-unknown-linux-gnu/quick/perch-probe";

#[test]
fn each_way_of_attachment_is_told_apart_and_nvme_tells_its_health() {
    let dir = tempfile::tempdir().unwrap();
    let image = |name: &str| {
        let path = dir.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
        path
    };
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROBE);
    // A SATA disk behind a controller of its own answers SMART through the kernel's translation of SCSI commands.
    let sata = image("sata");
    let drive = format!("driver=raw,node-name=sata,file.driver=file,file.filename={}", sata.display());
    let setup = Setup::new()
        .disk(Disk::image(image("nvme"), Attach::Nvme).serial("NV1"))
        .disk(Disk::image(image("uas"), Attach::Uas).serial("UA1"))
        .disk(Disk::image(image("stick"), Attach::UsbStorage).serial("US1"))
        .disk(Disk::image(image("virtio"), Attach::Virtio).serial("VI1"))
        .disk(Disk::image(image("card"), Attach::SdCard))
        .qemu(&[
            "-blockdev",
            &drive,
            "-device",
            "ahci,id=ahci",
            "-device",
            "ide-hd,bus=ahci.0,drive=sata,serial=SA1",
        ])
        .modules(&["ahci", "sd_mod"])
        .host_file("/bin/perch-probe", 0o755, probe);
    let machine = Machine::boot(&setup).unwrap();
    let limit = std::time::Duration::from_secs(60);
    machine.wait_for("[ -e /sys/block/nvme0n1 ] && [ -e /sys/block/mmcblk0 ] && [ $(ls -d /sys/block/sd? | wc -l) = 3 ]", limit).unwrap();
    let said = machine.sh("perch-probe").unwrap();
    println!("{said}");
    let line = |words: &str| {
        let found = said.lines().find(|line| words.split(' ').all(|word| line.contains(word)));
        found.unwrap_or_else(|| panic!("no line with {words}:\n{said}")).to_owned()
    };
    assert!(line("nvme0n1: Nvme serial=NV1").contains("its NVMe log wear=Some(0) failing=false"));
    assert!(line("UsbSsd serial=UA1").contains(" Uas port"));
    assert!(line("UsbSsd serial=US1").contains(" UsbStorage port"));
    assert!(line("vda: Virtual").contains("serial=VI1"));
    assert!(line("mmcblk0: Sd").contains("it tells nothing"));
    assert!(line("Sata serial=SA1").contains("its maker's attributes"));
    assert!(said.lines().all(|line| line.contains("content=Blank")));
    machine.sh("mkfs.ext2 /dev/vda >/dev/null 2>&1 || mke2fs /dev/vda").unwrap();
    let after = machine.sh("perch-probe").unwrap();
    assert!(after.lines().any(|line| line.starts_with("vda:") && line.contains("content=ext2")), "{after}");
    machine.unplug("disk1").unwrap();
    machine.wait_for("! perch-probe | grep -q UA1", limit).unwrap();
}
