//! What an image of the box is made of here: Debian's packages, the modules of its kernel, BusyBox's applets. They are those
//! of the test machine, from the same cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    TestbedError,
    debian::{self, Package},
    host::{CacheLock, make_folder},
    initramfs,
};

pub use crate::initramfs::APPLETS;

/// A kernel of Debian's, unpacked.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its package.
    pub package: Package,
    /// Its version, such as `6.12.117+deb12-arm64`: the folder of its modules.
    pub version: String,
}

impl Kernel {
    /// The kernel's image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.package.folder.join("boot").join(format!("vmlinuz-{}", self.version))
    }

    /// Puts modules with what they need, not compressed, and the indexes of modprobe into `ROOT/lib/modules/VERSION`.
    ///
    /// # Errors
    /// When one cannot be unpacked or written. What is built into the kernel is no error.
    pub fn put_modules(&self, names: &[&str], root: &Path) -> Result<(), TestbedError> {
        let _lock = CacheLock::take()?;
        make_folder(root)?;
        initramfs::stage_modules(&self.package.folder, names, root)?;
        // Text forms of the indexes, for people; and what only depmod reads.
        let folder = root.join("lib/modules").join(&self.version);
        for entry in fs::read_dir(&folder).map_err(TestbedError::file("list", &folder))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".bin") || name == "modules.order" || name == "modules.builtin.modinfo" {
                fs::remove_file(entry.path()).map_err(TestbedError::file("remove", entry.path()))?;
            }
        }
        Ok(())
    }
}

/// Fetches a package, such as `e2fsprogs:arm64`.
///
/// # Errors
/// When it is not offered or cannot be unpacked.
pub fn package(name: &str) -> Result<Package, TestbedError> {
    let _lock = CacheLock::take()?;
    debian::package(name)
}

/// Fetches the kernel.
///
/// # Errors
/// As [`package`].
pub fn kernel() -> Result<Kernel, TestbedError> {
    let _lock = CacheLock::take()?;
    let package = debian::package(&debian::kernel_package()?)?;
    Ok(Kernel { version: initramfs::kernel_version(&package.folder)?, package })
}
