//! Folders of files that become a root file system: copying, with the permission bits that a checkout keeps.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Permission bits of programs and folders, and of everything else: the owner's umask must not show in an image.
const PROGRAM: u32 = 0o755;
const PLAIN: u32 = 0o644;

/// Makes a folder and those above it.
pub(super) fn folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Writes a text file and gives its path.
pub(super) fn written(path: &Path, text: &str) -> Result<PathBuf> {
    folder(path.parent().unwrap_or(path))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_path_buf())
}

/// Copies a file, following links, as a program or not.
pub(super) fn copy(from: &Path, to: &Path, is_program: bool) -> Result<()> {
    folder(to.parent().unwrap_or(to))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    let mode = fs::Permissions::from_mode(if is_program { PROGRAM } else { PLAIN });
    fs::set_permissions(to, mode).with_context(|| format!("cannot set the mode of {}", to.display()))
}

/// Makes a symbolic link.
pub(super) fn link(path: &Path, target: &str) -> Result<()> {
    folder(path.parent().unwrap_or(path))?;
    symlink(target, path).with_context(|| format!("cannot make the link {}", path.display()))
}

/// Copies all files and links below a folder.
pub(super) fn copy_all(from: &Path, to: &Path) -> Result<()> {
    for (name, path) in entries(from)? {
        let to = to.join(name);
        let about = path.symlink_metadata().with_context(|| format!("cannot look at {}", path.display()))?;
        if about.is_dir() {
            copy_all(&path, &to)?;
        } else if about.is_symlink() {
            link(&to, &fs::read_link(&path)?.to_string_lossy())?;
        } else {
            copy(&path, &to, about.permissions().mode() & 0o100 != 0)?;
        }
    }
    Ok(())
}

/// All files and links below a folder, as paths from it, sorted.
pub(super) fn list(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for (_, path) in entries(&folder)? {
            if path.symlink_metadata().is_ok_and(|about| about.is_dir()) {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root)?.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Refuses two roots that have a file in common: the upper one would hide the other's.
pub(super) fn refuse_common(one: &Path, other: &Path) -> Result<()> {
    let in_one = list(one)?;
    match list(other)?.into_iter().find(|path| in_one.binary_search(path).is_ok()) {
        Some(path) => bail!("{} is in both roots", path.display()),
        None => Ok(()),
    }
}

fn entries(folder: &Path) -> Result<Vec<(std::ffi::OsString, PathBuf)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.context("cannot list a folder")?;
        all.push((entry.file_name(), entry.path()));
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_both_roots_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        written(&one.join("etc/a"), "").unwrap();
        written(&other.join("etc/b"), "").unwrap();
        refuse_common(&one, &other).unwrap();
        written(&other.join("etc/a"), "").unwrap();
        let refused = refuse_common(&one, &other).unwrap_err();
        assert_eq!(refused.to_string(), "etc/a is in both roots");
    }

    #[test]
    fn a_copy_has_links_and_two_modes_only() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        written(&from.join("sub/plain"), "x").unwrap();
        written(&from.join("sub/program"), "x").unwrap();
        fs::set_permissions(from.join("sub/plain"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(from.join("sub/program"), fs::Permissions::from_mode(0o775)).unwrap();
        link(&from.join("link"), "/run/somewhere").unwrap();
        copy_all(&from, &to).unwrap();
        let mode = |name: &str| fs::metadata(to.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("sub/plain"), mode("sub/program")), (PLAIN, PROGRAM));
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/run/somewhere"));
    }
}
