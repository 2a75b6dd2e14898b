//! Builds what the test machine boots: kernel, and an initramfs of BusyBox, glibc, modules and our two scripts.
//!
//! Both are cached; a change of the scripts or of the list of modules makes a new one.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use crate::{
    TestbedError,
    cpio::Archive,
    debian,
    host::{CacheLock, cache, make_folder, output, read, write_whole},
    modules,
};

const INIT: &str = include_str!("../guest/init.sh");
const AGENT: &str = include_str!("../guest/agent.sh");
const BESIDE_SCRIPT: &str = include_str!("../guest/beside.sh");
/// Where the script for machines with a system of their own is: the kernel starts it by `rdinit`.
pub(crate) const BESIDE: &str = "/testbed/init";
/// BusyBox init is the first process, so that somebody takes in what ended scripts leave behind.
const INITTAB: &str = "::once:/sbin/testbed-agent\n";

/// Modules in the initramfs, with what they need; none is loaded that the test did not ask for.
///
/// `crc32c_generic` is named because ext4 asks for it by a name that no dependency shows.
const MODULES: &[&str] = &[
    "crc32c_generic",
    "ext4",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859-1",
    "squashfs",
    "overlay",
    "configfs",
    "loop",
    "null_blk",
    "dm-mod",
    "dm-flakey",
    "zram",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
    "virtio_rng",
    "veth",
    "tun",
    "nvme",
    "sd_mod",
    "sg",
    "xhci-pci",
    "usb-storage",
    "uas",
    "i2c-dev",
    "i2c-tiny-usb",
    "rtc-pcf8523",
    "sdhci-pci",
    "ahci",
    "i6300esb",
    "softdog",
    "nf_tables",
    "sch_netem",
];

/// What the programs of the box link, from these packages.
const LIBRARY_PACKAGES: &[&str] = &["libc6:arm64", "libgcc-s1:arm64"];

/// What a machine is booted with.
#[derive(Clone, Debug)]
pub(crate) struct BootFiles {
    pub(crate) kernel: PathBuf,
    /// The base; what a test adds is appended as a second archive.
    pub(crate) initramfs: PathBuf,
}

/// Fetches and builds what is missing; with `gpio`, the simulated GPIO chip as well.
pub(crate) fn prepare(gpio: bool) -> Result<BootFiles, TestbedError> {
    let _lock = CacheLock::take()?;
    let image = debian::unpacked(&debian::kernel_package()?)?;
    if gpio {
        modules::gpio_sim(&kernel_version(&image)?)?;
    }
    let kernel = starting_with(&image.join("boot"), "vmlinuz-")
        .ok_or_else(|| TestbedError::Kernel("boot/vmlinuz".to_owned()))?;
    let initramfs = cache().join(format!("initramfs-{:016x}.cpio", fingerprint(&kernel)));
    if !initramfs.is_file() {
        build(&image, &initramfs)?;
    }
    Ok(BootFiles { kernel, initramfs })
}

/// The version of the kernel, such as `6.12.117+deb12-arm64`. The caller holds the cache's lock.
pub(crate) fn kernel_version(image: &Path) -> Result<String, TestbedError> {
    starting_with(&image.join("lib/modules"), "")
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .ok_or_else(|| TestbedError::Kernel("lib/modules".to_owned()))
}

/// What a system's own initramfs gets beside it: the agent, and a BusyBox to run it.
pub(crate) fn agent_archive() -> Result<Vec<u8>, TestbedError> {
    let _lock = CacheLock::take()?;
    let busybox = debian::unpacked("busybox-static:arm64")?.join("bin/busybox");
    let mut archive = Archive::new();
    archive.file(BESIDE, 0o755, BESIDE_SCRIPT.as_bytes());
    archive.file("/testbed/agent.sh", 0o755, AGENT.as_bytes());
    archive.file("/testbed/busybox", 0o755, &read(&busybox)?);
    Ok(archive.finish())
}

fn fingerprint(kernel: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    (INIT, AGENT, INITTAB, APPLETS, MODULES, LIBRARY_PACKAGES, kernel, extra_modules()).hash(&mut hasher);
    hasher.finish()
}

/// Modules that were built here because Debian's kernel leaves them out.
fn extra_modules() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(modules::folder()) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "ko"))
        .collect();
    found.sort();
    found
}

fn build(image: &Path, target: &Path) -> Result<(), TestbedError> {
    let mut archive = Archive::new();
    archive.file("/init", 0o755, INIT.as_bytes());
    archive.file("/sbin/testbed-agent", 0o755, AGENT.as_bytes());
    let busybox = debian::unpacked("busybox-static:arm64")?;
    add_busybox(&mut archive, &read(&busybox.join("bin/busybox"))?);
    for package in LIBRARY_PACKAGES {
        add_libraries(&mut archive, &debian::unpacked(package)?)?;
    }
    add_modules(&mut archive, image)?;
    archive.file("/etc/inittab", 0o644, INITTAB.as_bytes());
    archive.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("/etc/group", 0o644, b"root:x:0:\n");
    write_whole(target, &archive.finish())
}

/// Applets of Debian's static BusyBox that scripts and tests use. Each is a link: `busybox --install` would cost a
/// second of boot.
pub const APPLETS: &str = "[ adjtimex arch arping ash awk base64 basename blkdiscard blockdev brctl cat chgrp chmod chown chroot cmp cp cpio
    crc32 crond cut date dc dd devmem df diff dirname dmesg du echo egrep env expr fallocate false fdisk fgrep find findfs
    free fsfreeze fstrim getopt getty grep groups gunzip gzip halt head hexdump hostname httpd hwclock i2cdetect i2cdump
    i2cget i2cset i2ctransfer id ifconfig init insmod ionice ip kill killall klogd less ln logger login losetup ls lsmod
    lsscsi md5sum mdev mkdir mke2fs mkfifo mknod mktemp modinfo modprobe more mount mv nc netstat nice nproc nsenter
    nslookup od partprobe paste pidof ping pivot_root poweroff printf ps pwd rdate readlink realpath reboot renice rev rm
    rmdir rmmod route sed seq setpriv setsid sh sha256sum sleep sort start-stop-daemon stat strings stty su swapon
    switch_root sync sysctl syslogd tail tar taskset tee telnet test time timeout top touch tr true truncate ts tty udhcpc
    udhcpd uevent umount uname uniq unlink unshare unxz uptime usleep vi watch watchdog wc wget which whoami xargs xxd yes
    zcat";

fn add_busybox(archive: &mut Archive, program: &[u8]) {
    archive.file("/bin/busybox", 0o755, program);
    for applet in APPLETS.split_whitespace() {
        archive.link(&format!("/bin/{applet}"), "busybox");
    }
    // The kernel starts this path by itself when it wants a module.
    archive.link("/sbin/modprobe", "/bin/busybox");
}

/// Adds the shared libraries of a package where the loader looks for them.
fn add_libraries(archive: &mut Archive, package: &Path) -> Result<(), TestbedError> {
    let folder = package.join("lib/aarch64-linux-gnu");
    let entries = fs::read_dir(&folder).map_err(TestbedError::file("list", &folder))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Links lie beside what they point to: their content under their own name serves as well.
        if path.is_file() && name.contains(".so") {
            archive.file(&format!("/lib/aarch64-linux-gnu/{name}"), 0o755, &read(&path)?);
        }
    }
    if package.join("lib/ld-linux-aarch64.so.1").exists() {
        archive.link("/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1");
    }
    Ok(())
}

/// Adds the wanted modules, what they depend on, and the indexes that modprobe reads.
fn add_modules(archive: &mut Archive, image: &Path) -> Result<(), TestbedError> {
    // A second tree with only the wanted ones, not compressed: unpacking is slow on an emulated processor.
    let staging = cache().join("staging");
    if staging.exists() {
        fs::remove_dir_all(&staging).map_err(TestbedError::file("remove", &staging))?;
    }
    let chosen = stage_modules(image, MODULES, &staging)?;
    for path in extra_modules() {
        let target = chosen.join("extra").join(path.file_name().unwrap_or_default());
        make_folder(&chosen.join("extra"))?;
        fs::write(&target, read(&path)?).map_err(TestbedError::file("write", &target))?;
    }
    let version = kernel_version(image)?;
    output(&staging, "depmod", &["-b", &staging.to_string_lossy(), &version])?;
    add_tree(archive, &chosen, &format!("/lib/modules/{version}"))?;
    fs::remove_dir_all(&staging).map_err(TestbedError::file("remove", &staging))
}

/// Puts modules, what they depend on, and modprobe's indexes below `root`, not compressed, and gives their folder. The
/// caller holds the cache's lock.
pub(crate) fn stage_modules(image: &Path, names: &[&str], root: &Path) -> Result<PathBuf, TestbedError> {
    let version = kernel_version(image)?;
    let all = image.join("lib/modules").join(&version);
    if !all.join("modules.dep").is_file() {
        output(image, "depmod", &["-b", &image.to_string_lossy(), &version])?;
    }
    let dependencies = String::from_utf8_lossy(&read(&all.join("modules.dep"))?).into_owned();
    let chosen = root.join("lib/modules").join(&version);
    make_folder(&chosen)?;
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        let content = read(&all.join(name))?;
        fs::write(chosen.join(name), content).map_err(TestbedError::file("write", chosen.join(name)))?;
    }
    for path in closure(&dependencies, names)? {
        let plain = match path.strip_suffix(".xz") {
            Some(_) => output(&all, "xz", &["-dc", &path])?,
            None => read(&all.join(&path))?,
        };
        let target = chosen.join(path.trim_end_matches(".xz"));
        make_folder(target.parent().unwrap_or(&chosen))?;
        fs::write(&target, plain).map_err(TestbedError::file("write", &target))?;
    }
    output(root, "depmod", &["-b", &root.to_string_lossy(), &version])?;
    Ok(chosen)
}

fn add_tree(archive: &mut Archive, folder: &Path, place: &str) -> Result<(), TestbedError> {
    let entries = fs::read_dir(folder).map_err(TestbedError::file("list", folder))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let place = format!("{place}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            add_tree(archive, &path, &place)?;
        } else {
            archive.file(&place, 0o644, &read(&path)?);
        }
    }
    Ok(())
}

/// The files of modules and of all that they depend on, from the text of `modules.dep`.
fn closure(dependencies: &str, wanted: &[&str]) -> Result<BTreeSet<String>, TestbedError> {
    let mut files = BTreeSet::new();
    for name in wanted {
        let line = dependencies
            .lines()
            .find(|line| line.split_once(':').is_some_and(|(path, _)| module_name(path) == plain_name(name)));
        // What is built into the kernel has no line.
        let Some((path, needs)) = line.and_then(|line| line.split_once(':')) else {
            tracing::debug!(name, "no such module: built in, or left out");
            continue;
        };
        files.insert(path.to_owned());
        files.extend(needs.split_whitespace().map(str::to_owned));
    }
    if files.is_empty() { Err(TestbedError::Kernel("modules".to_owned())) } else { Ok(files) }
}

/// `kernel/drivers/usb/storage/usb-storage.ko.xz` is `usb_storage`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    plain_name(file.split(".ko").next().unwrap_or(file))
}

fn plain_name(name: &str) -> String {
    name.replace('-', "_")
}

fn starting_with(folder: &Path, start: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let path = |entry: fs::DirEntry| entry.path();
    entries
        .filter_map(Result::ok)
        .map(path)
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_along() {
        let text = "kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz\n\
                    kernel/lib/crc16.ko.xz:\nkernel/drivers/usb/storage/usb-storage.ko.xz: kernel/a.ko\n";
        let files = closure(text, &["ext4", "usb-storage", "built_in"]).unwrap();
        let expected = [
            "kernel/a.ko",
            "kernel/drivers/usb/storage/usb-storage.ko.xz",
            "kernel/fs/ext4/ext4.ko.xz",
            "kernel/fs/jbd2/jbd2.ko.xz",
            "kernel/lib/crc16.ko.xz",
        ];
        assert!(files.iter().map(String::as_str).eq(expected));
        assert!(closure("", &["ext4"]).is_err());
    }
}
