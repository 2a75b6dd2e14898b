//! The two roots of the test image: `base` from Debian's packages and the overlay, `perch` from our programs.
//!
//! Nothing is installed: files are picked out of unpacked packages by name, so that what is in the image is what stands here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use testbed::Package;
use testbed::parts::{self, APPLETS, Kernel};

use super::{Edition, tree};
use crate::shell::{command, output};

/// Packages of the base, and which of their files.
const PACKAGES: &[(&str, &[&str])] = &[
    ("busybox-static:arm64", &["bin/busybox"]),
    (
        "libc6:arm64",
        &[
            "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
            "lib/aarch64-linux-gnu/libc.so.6",
            "lib/aarch64-linux-gnu/libm.so.6",
            // Names are looked up by these.
            "lib/aarch64-linux-gnu/libresolv.so.2",
            "lib/aarch64-linux-gnu/libnss_dns.so.2",
            "lib/aarch64-linux-gnu/libnss_files.so.2",
        ],
    ),
    ("libgcc-s1:arm64", &["lib/aarch64-linux-gnu/libgcc_s.so.1"]),
    ("e2fsprogs:arm64", &["sbin/e2fsck", "sbin/mke2fs", "sbin/resize2fs", "sbin/tune2fs", "etc/mke2fs.conf"]),
    ("libext2fs2:arm64", &["lib/aarch64-linux-gnu/libext2fs.so.2", "lib/aarch64-linux-gnu/libe2p.so.2"]),
    ("libcom-err2:arm64", &["lib/aarch64-linux-gnu/libcom_err.so.2"]),
    ("libblkid1:arm64", &["usr/lib/aarch64-linux-gnu/libblkid.so.1"]),
    ("libuuid1:arm64", &["usr/lib/aarch64-linux-gnu/libuuid.so.1"]),
];

/// Links of the base, by what they point to.
const LINKS: &[(&str, &str)] = &[
    ("lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1"),
    ("sbin/mkfs.ext4", "mke2fs"),
    ("sbin/init", "/bin/busybox"),
    ("sbin/modprobe", "/bin/busybox"),
    ("sbin/udhcpc", "/bin/busybox"),
];

/// BusyBox applets that are other programs here.
const NOT_APPLETS: &[&str] = &["mke2fs"];

/// Folders that something is mounted at.
const PLACES: &[&str] = &["boot", "data", "dev", "mnt", "proc", "root", "run", "sys", "tmp"];

/// Our programs in the image.
const PROGRAMS: &[&str] = &["perch-appliance", "perch-pds", "perch-timeguard", "perch-panel", "perchctl"];

/// Modules of Debian's kernel that are loaded at every start, since nothing loads them by what is plugged in.
///
/// `crc32c_generic` is named because ext4 asks for it by a name that no dependency shows.
const LOADED: &[&str] = &[
    "crc32c_generic",
    "ext4",
    "virtio_net",
    "virtio_rng",
    "i6300esb",
    "xhci-pci",
    "usb-storage",
    "uas",
    "sd_mod",
    "sg",
    "nvme",
    "i2c-dev",
    "i2c-tiny-usb",
];

/// Modules that the kernel loads by itself when a file system or a device's driver is asked for.
const LOADABLE: &[&str] =
    &["virtio_blk", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "rtc-pcf8523", "overlay"];

/// What the image is made of, for the initramfs and the bill of materials.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) kernel: Kernel,
    pub(super) busybox: PathBuf,
    pub(super) packages: Vec<Package>,
}

/// Puts both roots together in `STAGE/base` and `STAGE/perch`.
pub(super) fn stage(root: &Path, edition: &Edition, programs: &Path, stage: &Path) -> Result<Parts> {
    let (base, perch) = (stage.join("base"), stage.join("perch"));
    let kernel = parts::kernel()?;
    let mut packages = vec![kernel.package.clone()];
    for (name, files) in PACKAGES {
        let package = parts::package(name)?;
        for file in *files {
            tree::copy(&package.folder.join(file), &base.join(file), !file.starts_with("etc/"))?;
        }
        packages.push(package);
    }
    for applet in APPLETS.split_whitespace().filter(|applet| !NOT_APPLETS.contains(applet)) {
        tree::link(&base.join("bin").join(applet), "busybox")?;
    }
    for (path, target) in LINKS {
        tree::link(&base.join(path), target)?;
    }
    for place in PLACES {
        tree::folder(&base.join(place))?;
    }
    tree::copy_all(&root.join("image/overlay"), &base)?;
    kernel.put_modules(&[LOADED, LOADABLE].concat(), &base)?;
    tree::written(&base.join("etc/modules"), &lines(LOADED))?;

    for program in PROGRAMS {
        tree::copy(&programs.join(program), &perch.join("usr/bin").join(program), true)?;
    }
    for board in edition.board.folders() {
        tree::copy_all(&root.join("board").join(board), &perch.join("etc/perch/boards").join(board))?;
    }
    tree::copy(&root.join("board/uas-quirks.toml"), &perch.join("etc/perch/boards/uas-quirks.toml"), false)?;
    tree::written(&perch.join("etc/os-release"), &edition.os_release())?;
    tree::refuse_common(&base, &perch)?;
    refuse_missing_libraries(&[&base, &perch])?;
    let busybox = base.join("bin/busybox");
    Ok(Parts { kernel, busybox, packages })
}

fn lines(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}

/// Refuses roots with a program whose libraries are not all in them: it would fail on the box only.
fn refuse_missing_libraries(roots: &[&Path]) -> Result<()> {
    let (mut present, mut needed) = (BTreeSet::new(), Vec::new());
    for root in roots {
        for path in tree::list(root)? {
            let whole = root.join(&path);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains(".so") {
                present.insert(name);
            }
            let is_program = !whole.is_symlink() && starts_with_elf(&whole)?;
            if is_program && path.extension().is_none_or(|ending| ending != "ko") {
                let said = output(&mut command(root, "readelf", ["-d", &whole.to_string_lossy()]))?;
                needed.extend(libraries(&said).map(|library| (library.to_owned(), path.clone())));
            }
        }
    }
    match needed.into_iter().find(|(library, _)| !present.contains(library)) {
        Some((library, path)) => bail!("{} needs {library}, which is in neither root", path.display()),
        None => Ok(()),
    }
}

fn starts_with_elf(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut start = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.take(4).read_to_end(&mut start).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(start == b"\x7fELF")
}

/// The libraries that readelf names: ` 0x…1 (NEEDED)  Shared library: [libc.so.6]`.
fn libraries(said: &str) -> impl Iterator<Item = &str> {
    let needed = said.lines().filter(|line| line.contains("(NEEDED)"));
    needed.filter_map(|line| line.rsplit_once('[')?.1.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readelf_names_libraries() {
        let said = "Dynamic section at offset 0x1:\n 0x0000000000000001 (NEEDED)  Shared library: [libc.so.6]\n \
                    0x000000000000000e (SONAME)  Library soname: [libm.so.6]\n";
        assert!(libraries(said).eq(["libc.so.6"]));
    }
}
