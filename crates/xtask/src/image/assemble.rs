//! Makes the parts of an image and puts them in their places: squashfs, kernel, initramfs, FAT, ext4, the whole.
//!
//! Every program is told a fixed time, fixed ids and one owner.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use image::fat::Fat;
use image::{Layout, slot};
use testbed::cpio::Archive;
use testbed::parts::{APPLETS, Kernel};

use super::tree;
use crate::shell::{command, run};

/// The disk signature of every flashed card until its first boot, which gives it one of its own.
const DISK_SIGNATURE: u32 = 0x7065_7263;

/// The numbers of the FAT file systems.
const BOOT_VOLUME: u32 = 0x7065_0001;
const SLOT_VOLUMES: [u32; 2] = [0x7065_0002, 0x7065_0003];

/// The id of the data file system until the first boot, and the seed of its folders' hashes.
const DATA_UUID: &str = "70657263-6800-4000-8000-000000000004";
const DATA_HASH_SEED: &str = "70657263-6800-4000-8000-000000000005";

/// The features of the data file system: ext4's usual ones, named so that no configuration file of the host has a say.
const DATA_FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
    large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// The time that e2fsprogs is told, seconds: the first day of 1980, as in FAT.
const FIXED_TIME_S: &str = "315532800";

/// Modules that reach the slot and mount what is in it.
const INITRAMFS_MODULES: &[&str] = &[
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859-1",
    "loop",
    "squashfs",
    "overlay",
    "sdhci-pci",
    "virtio_blk",
    "nvme",
    "xhci-pci",
    "usb-storage",
    "uas",
    "sd_mod",
];

/// The roots, compressed.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) base: PathBuf,
    pub(super) perch: PathBuf,
    /// What both weigh.
    pub(super) bytes: u64,
}

/// Compresses `STAGE/base` and `STAGE/perch`.
pub(super) fn roots(stage: &Path) -> Result<Roots> {
    let mut bytes = 0;
    let mut squash = |name: &str| -> Result<PathBuf> {
        let target = stage.join(name).with_added_extension("squashfs");
        let mut program = command(stage, "mksquashfs", [name, &target.to_string_lossy()]);
        // The files' and the file system's times are fixed, names are sorted by the program itself.
        program.args(["-all-root", "-all-time", "0", "-mkfs-time", "0", "-no-xattrs", "-no-exports"]);
        program.args(["-comp", "zstd", "-Xcompression-level", "19", "-b", "256K"]);
        program.args(["-noappend", "-quiet", "-no-progress"]);
        run(program.stdout(Stdio::null()))?;
        bytes += fs::metadata(&target).context("cannot look at a root")?.len();
        Ok(target)
    };
    let (base, perch) = (squash("base")?, squash("perch")?);
    Ok(Roots { base, perch, bytes })
}

/// Compresses the kernel: a Pi's firmware and QEMU both take it so (Raspberry Pi documentation, `arm_64bit`).
pub(super) fn kernel(image: &Path, stage: &Path) -> Result<PathBuf> {
    let target = stage.join("kernel8.img");
    piped(stage, "gzip", &["-9", "-n", "-c", &image.to_string_lossy()], &target)?;
    Ok(target)
}

/// Packs the initramfs: our script, BusyBox, and the modules that it needs.
pub(super) fn initramfs(root: &Path, kernel: &Kernel, busybox: &Path, stage: &Path) -> Result<PathBuf> {
    let modules = stage.join("initramfs");
    kernel.put_modules(INITRAMFS_MODULES, &modules)?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut archive = Archive::new();
    archive.file("/init", 0o755, &read(&root.join("image/initramfs/init"))?);
    archive.file("/bin/busybox", 0o755, &read(busybox)?);
    for applet in APPLETS.split_whitespace() {
        archive.link(&format!("/bin/{applet}"), "busybox");
    }
    archive.link("/sbin/modprobe", "/bin/busybox");
    archive.file("/etc/modules", 0o644, (INITRAMFS_MODULES.join("\n") + "\n").as_bytes());
    for path in tree::list(&modules)? {
        archive.file(&format!("/{}", path.display()), 0o644, &read(&modules.join(&path))?);
    }
    let plain = stage.join("initramfs.cpio");
    fs::write(&plain, archive.finish()).with_context(|| format!("cannot write {}", plain.display()))?;
    let target = stage.join("initramfs.zst");
    piped(stage, "zstd", &["-19", "-q", "-c", &plain.to_string_lossy()], &target)?;
    Ok(target)
}

/// Writes the whole image.
pub(super) fn image(
    root: &Path,
    path: &Path,
    layout: &Layout,
    files: &BTreeMap<String, PathBuf>,
) -> Result<()> {
    let place = path.display();
    let _none = fs::remove_file(path).is_err();
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    let image = options.open(path).with_context(|| format!("cannot make {place}"))?;
    image.set_len(layout.size_bytes()).with_context(|| format!("cannot make {place}"))?;
    image::write_table(&image, layout, DISK_SIGNATURE)?;
    let boot = Fat::format(&image, layout.boot, "PERCH", BOOT_VOLUME)?;
    let [a, b] = layout.slots;
    boot.write(slot::AUTOBOOT_FILE, &mut &*slot::autoboot(a.number, b.number))?;
    for name in ["perch.toml", "README.txt"] {
        let path = root.join("image/boot").join(name);
        let mut file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        boot.write(name, &mut file)?;
    }
    for (place, (label, volume)) in
        [a, b].into_iter().zip(["PERCH-A", "PERCH-B"].into_iter().zip(SLOT_VOLUMES))
    {
        slot::write(&Fat::format(&image, place, label, volume)?, files)?;
    }
    let offset = layout.data.start_bytes;
    let extended = format!(
        "offset={offset},hash_seed={DATA_HASH_SEED},root_owner=0:0,nodiscard,lazy_itable_init=0,resize=268435456"
    );
    let (path, kib) = (path.to_string_lossy(), format!("{}k", layout.data.size_bytes / 1024));
    let mut program = command(root, "mke2fs", ["-q", "-F", "-t", "ext4", "-U", DATA_UUID, "-E", &extended]);
    // As `platform_linux::volumes` makes one on an SSD; the journal and the inodes are those of a large disk.
    program.args(["-b", "4096", "-i", "16384", "-I", "256", "-m", "0.5", "-J", "size=16"]);
    program.args(["-O", DATA_FEATURES, &*path, &kib]);
    run(program.env("E2FSPROGS_FAKE_TIME", FIXED_TIME_S))
}

/// Compresses the image and gives the compressed file.
pub(super) fn compress(raw: &Path) -> Result<PathBuf> {
    let target = raw.with_added_extension("zst");
    let folder = raw.parent().unwrap_or(raw);
    // One thread: what several make depends on how many there are. Most of it is compressed already.
    piped(folder, "zstd", &["-10", "--single-thread", "-q", "-c", &raw.to_string_lossy()], &target)?;
    Ok(target)
}

/// Runs a program whose standard output is a file.
fn piped(folder: &Path, program: &str, arguments: &[&str], target: &Path) -> Result<()> {
    let file = File::create(target).with_context(|| format!("cannot make {}", target.display()))?;
    run(command(folder, program, arguments.iter().copied()).stdout(file))
}
