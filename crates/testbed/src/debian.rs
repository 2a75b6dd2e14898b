//! Fetches Debian's packages, most of them of arm64, with apt and unpacks them into the cache. Nothing is installed on the host.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    TestbedError,
    host::{CacheLock, cache, make_folder, output},
};

/// Kernels that will do, the first that is offered: 6.12 is what Raspberry Pi OS ships.
const KERNELS: &[&str] = &["linux-image-6.12-arm64:arm64", "linux-image-arm64:arm64"];

/// Programs of this computer's own Debian that are unpacked and not installed: installed, they would start by themselves.
#[derive(Clone, Debug)]
pub struct Programs {
    packages: Vec<PathBuf>,
}

impl Programs {
    /// Fetches these packages, once. Those of libraries that a bare system may lack belong among them.
    ///
    /// # Errors
    /// When apt does not have one of them.
    pub fn fetch(packages: &[&str]) -> Result<Self, TestbedError> {
        let _lock = CacheLock::take()?;
        let fetch =
            || packages.iter().map(|package| unpacked(package)).collect::<Result<Vec<_>, TestbedError>>();
        let packages = fetch().or_else(|_unknown| {
            // A fresh machine knows no packages yet.
            output(Path::new("/"), "apt-get", &["-q", "update"])?;
            fetch()
        })?;
        Ok(Self { packages })
    }

    /// Gives a file by its path when installed, such as `usr/sbin/chronyd`.
    ///
    /// # Errors
    /// When no package has it.
    pub fn file(&self, path: &str) -> Result<PathBuf, TestbedError> {
        let files = self.packages.iter().map(|package| package.join(path));
        let missing = || TestbedError::file("find", Path::new(path))(io::ErrorKind::NotFound.into());
        files.into_iter().find(|file| file.exists()).ok_or_else(missing)
    }

    /// Gives the folders of their libraries, for `LD_LIBRARY_PATH`.
    #[must_use]
    pub fn libraries(&self) -> Vec<PathBuf> {
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let folders = self
            .packages
            .iter()
            .flat_map(|package| ["lib", "usr/lib"].map(|lib| package.join(lib).join(&triplet)));
        // systemd keeps its own in a folder of their own.
        let all = folders.flat_map(|folder| [folder.join("systemd"), folder]);
        all.filter(|folder| folder.is_dir()).collect()
    }
}

/// A package of Debian's, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name, without architecture.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it is unpacked.
    pub folder: PathBuf,
}

/// Fetches one package, such as `busybox-static:arm64`, and gives the folder into which it is unpacked.
///
/// Cached by name. The caller holds the cache's lock.
pub(crate) fn unpacked(package: &str) -> Result<PathBuf, TestbedError> {
    self::package(package).map(|package| package.folder)
}

/// As [`unpacked`], with name and version.
pub(crate) fn package(package: &str) -> Result<Package, TestbedError> {
    let folder = cache().join("packages").join(package.replace(':', "_"));
    let noted = folder.with_extension("version");
    let name = package.split(':').next().unwrap_or(package).to_owned();
    if let (true, Ok(version)) = (folder.is_dir(), fs::read_to_string(&noted)) {
        return Ok(Package { name, version, folder });
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(TestbedError::file("remove", &folder))?;
    }
    let part = folder.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).map_err(TestbedError::file("remove", &part))?;
    }
    let root = part.join("root");
    make_folder(&root)?;
    tracing::info!(package, "fetching");
    // As root, apt would download as another user, who may not write here; that is only a warning.
    output(&part, "apt-get", &["-q", "-o", "APT::Sandbox::User=root", "download", package])
        .map_err(|_refused| TestbedError::Package(package.to_owned()))?;
    let archive = only_file(&part, ".deb").ok_or_else(|| TestbedError::Package(package.to_owned()))?;
    output(&part, "dpkg", &["-x", &archive.to_string_lossy(), &root.to_string_lossy()])?;
    let version = output(&part, "dpkg-deb", &["-f", &archive.to_string_lossy(), "Version"])?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    fs::remove_file(&archive).map_err(TestbedError::file("remove", &archive))?;
    fs::rename(&root, &folder).map_err(TestbedError::file("rename", &root))?;
    fs::remove_dir_all(&part).map_err(TestbedError::file("remove", &part))?;
    crate::host::write_whole(&noted, version.as_bytes())?;
    Ok(Package { name, version, folder })
}

/// The package of the kernel, as `linux-image-6.12.117+deb12-arm64:arm64`.
///
/// The answer is kept: modules that were built for one kernel must not meet another after an update of the archive.
pub(crate) fn kernel_package() -> Result<String, TestbedError> {
    let kept = cache().join("kernel-package");
    if let Ok(name) = fs::read_to_string(&kept) {
        return Ok(name.trim().to_owned());
    }
    for meta in KERNELS {
        let Ok(depends) = output(Path::new("/"), "apt-cache", &["depends", meta]) else { continue };
        let text = String::from_utf8_lossy(&depends).into_owned();
        let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        if let Some(name) = names.find(|name| name.starts_with("linux-image-")) {
            let name = format!("{}:arm64", name.trim_end_matches(":arm64"));
            crate::host::write_whole(&kept, name.as_bytes())?;
            return Ok(name);
        }
    }
    Err(TestbedError::Package(KERNELS.join(" or ")))
}

fn only_file(folder: &Path, ending: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries.filter_map(Result::ok).map(|entry| entry.path()).find(|p| p.to_string_lossy().ends_with(ending))
}
