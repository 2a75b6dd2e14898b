//! The store's own files (blobs, keys, secrets, spools) on a [`Disk`].

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use store::{FileRead, FileWrite, Files, FolderLock, Spool};

use crate::disk::{Disk, FileHandle};

/// A disk as the store's file layer.
#[derive(Clone, Debug)]
pub struct CrashFiles {
    disk: Arc<Disk>,
    locked: Arc<Mutex<HashSet<PathBuf>>>,
}

impl CrashFiles {
    /// Takes a disk. Clones share their locks.
    #[must_use]
    pub fn new(disk: Arc<Disk>) -> Self {
        Self { disk, locked: Arc::default() }
    }
}

/// A file with a place in it.
#[derive(Debug)]
struct Cursor {
    handle: FileHandle,
    at: usize,
}

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.handle.read_at(self.at, into)?;
        self.at += got;
        Ok(got)
    }
}

impl Write for Cursor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.handle.write_at(self.at, bytes)?;
        self.at += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(place) => (usize::try_from(place).map_err(|_| io::ErrorKind::InvalidInput)?, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.handle.len()?, by),
        };
        let by = isize::try_from(by).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        u64::try_from(self.at).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

impl FileWrite for Cursor {
    fn sync(&mut self) -> io::Result<()> {
        self.handle.sync()
    }
}

impl FileRead for Cursor {}

impl Spool for Cursor {}

/// A lock that ends with its holder.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    locked: Arc<Mutex<HashSet<PathBuf>>>,
}

impl FolderLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

impl Files for CrashFiles {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        if self.disk.is_dir(dir) {
            return Ok(false);
        }
        let parent = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
        if !self.disk.is_dir(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.disk.make_dir(dir)?;
        Ok(true)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWrite>> {
        let handle = self.disk.open(path, true)?;
        if !handle.is_empty()? {
            handle.truncate(0)?;
        }
        Ok(Box::new(Cursor { handle, at: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileRead>> {
        Ok(Box::new(Cursor { handle: self.disk.open(path, false)?, at: 0 }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        let len = self.disk.len(path)?;
        len.map(u64::try_from).transpose().map_err(|_| io::ErrorKind::FileTooLarge.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        match self.disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names,
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FolderLock>>> {
        self.disk.open(path, true)?;
        let is_free = self.locked.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        let lock = || -> Box<dyn FolderLock> {
            Box::new(Lock { path: path.to_owned(), locked: Arc::clone(&self.locked) })
        };
        Ok(is_free.then(lock))
    }

    fn spool(&self, dir: &Path) -> io::Result<Box<dyn Spool>> {
        self.disk.list(dir)?;
        Ok(Box::new(Cursor { handle: self.disk.open_nameless(), at: 0 }))
    }
}
