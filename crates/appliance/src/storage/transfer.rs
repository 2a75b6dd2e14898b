//! Copies the data from one folder to another, and compares every byte. Decides nothing, and can be cut anywhere.
//!
//! A second run over a half-filled target goes on: what is equal stays, what differs is written anew, what does not
//! belong is removed. When [`copy`] returns, everything is on stable storage; [`compare`] then says whether it is the
//! same, contents, owners and rights. Comparing both sides byte for byte needs no list of hashes in memory, and finds
//! also a source that reads differently the second time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use platform::volumes::IDENTITY_FILE;

/// Bytes that are copied between two looks at whether to stop: 1 MiB is 50 ms of a slow card.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Deepest folder that is followed. The data has four levels; beyond this somebody made a loop.
const DEPTH_MAX: usize = 32;

/// Names in the topmost folder that belong to the file system or to the copy itself, and not to the data.
const NOT_DATA: [&str; 3] = ["lost+found", IDENTITY_FILE, "perch-data.json.new"];

/// Why a copy is not finished.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    /// The caller asked to stop.
    #[error("the copy was stopped")]
    Stopped,
    /// The copy is not what the source is.
    #[error("{} differs from its source", path.display())]
    Differs {
        /// What differs, in the target.
        path: PathBuf,
    },
    /// The system failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Asked before every change and every chunk, with the bytes done since the last time; false stops.
pub(super) type Go<'a> = dyn FnMut(u64) -> bool + 'a;

/// Counts the bytes of a folder's files, as a copy will.
///
/// # Errors
/// [`TransferError::Io`].
pub(super) fn bytes_of(folder: &Path) -> Result<u64, TransferError> {
    let mut total = 0_u64;
    let mut waiting = vec![(folder.to_owned(), 0_usize)];
    while let Some((folder, depth)) = waiting.pop() {
        for name in names(&folder, depth)? {
            let path = folder.join(name);
            let meta = look(&path)?;
            if meta.is_dir() {
                waiting.push((path, depth + 1));
            } else if meta.is_file() {
                total = total.saturating_add(meta.len());
            }
        }
    }
    Ok(total)
}

/// Makes the content of `to` that of `from`, durably.
///
/// # Errors
/// [`TransferError::Stopped`] or [`TransferError::Io`]; another call goes on.
pub(super) fn copy(from: &Path, to: &Path, go: &mut Go<'_>) -> Result<(), TransferError> {
    copy_folder(from, to, 0, go)
}

fn copy_folder(from: &Path, to: &Path, depth: usize, go: &mut Go<'_>) -> Result<(), TransferError> {
    let wanted = names(from, depth)?;
    for name in names(to, depth)? {
        if !wanted.contains(&name) {
            step(go)?;
            remove(&to.join(name))?;
        }
    }
    for name in wanted {
        let (source, target) = (from.join(&name), to.join(&name));
        let meta = look(&source)?;
        let present = fs::symlink_metadata(&target).ok();
        if present.as_ref().is_some_and(|present| present.file_type() != meta.file_type()) {
            step(go)?;
            remove(&target)?;
        }
        if meta.is_dir() {
            if present.is_none_or(|present| !present.is_dir()) {
                step(go)?;
                fs::create_dir(&target).map_err(failed("make", &target))?;
            }
            copy_folder(&source, &target, depth + 1, go)?;
        } else if meta.is_file() {
            copy_file(&source, &meta, &target, go)?;
        } else if meta.is_symlink() {
            copy_link(&source, &meta, &target, go)?;
        }
        // Sockets and pipes are made anew by whoever listens.
    }
    step(go)?;
    take_rights(&look(from)?, to)?;
    sync(to)
}

fn copy_file(source: &Path, meta: &Metadata, target: &Path, go: &mut Go<'_>) -> Result<(), TransferError> {
    if same_content(source, target, &mut |_| true)? {
        step(go)?;
        take_rights(meta, target)?;
        return counted(go, meta.len());
    }
    let mut reader = File::open(source).map_err(failed("open", source))?;
    step(go)?;
    let mut writer = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(target)
        .map_err(failed("write", target))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let len = fill(&mut reader, &mut chunk).map_err(failed("read", source))?;
        if len == 0 {
            break;
        }
        writer.write_all(chunk.get(..len).unwrap_or_default()).map_err(failed("write", target))?;
        counted(go, u64::try_from(len).unwrap_or(0))?;
    }
    take_rights(meta, target)?;
    step(go)?;
    writer.sync_all().map_err(failed("sync", target))
}

fn copy_link(source: &Path, meta: &Metadata, target: &Path, go: &mut Go<'_>) -> Result<(), TransferError> {
    let leads_to = fs::read_link(source).map_err(failed("read", source))?;
    if fs::read_link(target).is_ok_and(|present| present == leads_to) {
        return Ok(());
    }
    step(go)?;
    remove(target)?;
    std::os::unix::fs::symlink(&leads_to, target).map_err(failed("make", target))?;
    lchown(target, Some(meta.uid()), Some(meta.gid())).map_err(failed("give away", target))
}

/// Compares everything: names, kinds, bytes, owners, rights.
///
/// # Errors
/// [`TransferError::Differs`] for the first difference, [`TransferError::Stopped`], or [`TransferError::Io`].
pub(super) fn compare(from: &Path, to: &Path, go: &mut Go<'_>) -> Result<(), TransferError> {
    compare_folder(from, to, 0, go)
}

fn compare_folder(from: &Path, to: &Path, depth: usize, go: &mut Go<'_>) -> Result<(), TransferError> {
    let is_data = |folder: &Path, name: &OsString| {
        let meta = look(&folder.join(name))?;
        Ok::<bool, TransferError>(meta.is_dir() || meta.is_file() || meta.is_symlink())
    };
    let mut wanted = BTreeSet::new();
    for name in names(from, depth)? {
        if is_data(from, &name)? {
            wanted.insert(name);
        }
    }
    if wanted != names(to, depth)? {
        return Err(TransferError::Differs { path: to.to_owned() });
    }
    for name in wanted {
        let (source, target) = (from.join(&name), to.join(&name));
        let (one, other) = (look(&source)?, look(&target)?);
        let differs = || TransferError::Differs { path: target.clone() };
        let rights = |meta: &Metadata| (meta.uid(), meta.gid(), meta.mode());
        if rights(&one) != rights(&other) {
            return Err(differs());
        }
        if one.is_dir() {
            compare_folder(&source, &target, depth + 1, go)?;
        } else if one.is_file() {
            if !same_content(&source, &target, go)? {
                return Err(differs());
            }
        } else if fs::read_link(&source).ok() != fs::read_link(&target).ok() {
            return Err(differs());
        }
    }
    step(go)
}

/// Tells whether two files hold the same bytes; a missing target does not.
fn same_content(source: &Path, target: &Path, go: &mut Go<'_>) -> Result<bool, TransferError> {
    let mut one = File::open(source).map_err(failed("open", source))?;
    let mut other = match File::open(target) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("open", target)(error)),
    };
    let len = |file: &File, path| file.metadata().map(|meta| meta.len()).map_err(failed("look at", path));
    if len(&one, source)? != len(&other, target)? {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        let left_len = fill(&mut one, &mut left).map_err(failed("read", source))?;
        let right_len = fill(&mut other, &mut right).map_err(failed("read", target))?;
        if left.get(..left_len) != right.get(..right_len) {
            return Ok(false);
        }
        if left_len == 0 {
            return Ok(true);
        }
        counted(go, u64::try_from(left_len).unwrap_or(0))?;
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn names(folder: &Path, depth: usize) -> Result<BTreeSet<OsString>, TransferError> {
    if depth > DEPTH_MAX {
        let source = io::Error::other("too many folders in one another");
        return Err(failed("follow", folder)(source));
    }
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let name = entry.map_err(failed("list", folder))?.file_name();
        if depth > 0 || !NOT_DATA.iter().any(|other| name == **other) {
            found.insert(name);
        }
    }
    Ok(found)
}

fn take_rights(meta: &Metadata, target: &Path) -> Result<(), TransferError> {
    chown(target, Some(meta.uid()), Some(meta.gid())).map_err(failed("give away", target))?;
    let rights = fs::Permissions::from_mode(meta.mode());
    fs::set_permissions(target, rights).map_err(failed("set the rights of", target))
}

fn remove(path: &Path) -> Result<(), TransferError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(failed("remove", path))
}

fn sync(folder: &Path) -> Result<(), TransferError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

fn look(path: &Path) -> Result<Metadata, TransferError> {
    fs::symlink_metadata(path).map_err(failed("look at", path))
}

fn step(go: &mut Go<'_>) -> Result<(), TransferError> {
    counted(go, 0)
}

fn counted(go: &mut Go<'_>, bytes: u64) -> Result<(), TransferError> {
    if go(bytes) { Ok(()) } else { Err(TransferError::Stopped) }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TransferError {
    let path = path.to_owned();
    move |source| TransferError::Io { doing, path, source }
}
