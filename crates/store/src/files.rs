//! Files outside the database: blobs, keys, the lock, spools.
//!
//! Everything goes through [`Files`], so that the crash test can keep apart what was never synced. The order that makes
//! a file durable is written once, in [`write_durably`].

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file being written.
pub trait FileWrite: Write + Send + Debug {
    /// Waits until content and length are on stable storage.
    ///
    /// # Errors
    /// When the system fails; the content is then in doubt and the file must be given up.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file being read.
pub trait FileRead: Read + Seek + Send + Debug {}

/// Something that keeps a folder ours until it is dropped.
pub trait FolderLock: Send + Sync + Debug {}

/// The few file operations that the store needs.
pub trait Files: Send + Sync + Debug {
    /// Makes one folder of mode 0700 in a folder that exists. Tells whether it was missing. Durable only after
    /// [`Files::sync_dir`] of its parent.
    ///
    /// # Errors
    /// When the system fails.
    fn make_dir(&self, dir: &Path) -> io::Result<bool>;
    /// Makes a new file of mode 0600; an existing one is emptied.
    ///
    /// # Errors
    /// When the system fails.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWrite>>;
    /// Opens a file.
    ///
    /// # Errors
    /// When it is missing or the system fails.
    fn open(&self, path: &Path) -> io::Result<Box<dyn FileRead>>;
    /// Renames over whatever is there. Durable only after [`Files::sync_dir`].
    ///
    /// # Errors
    /// When the system fails.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. A missing one is no error.
    ///
    /// # Errors
    /// When the system fails.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names that were made, changed or removed in a folder durable.
    ///
    /// # Errors
    /// When the system fails.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Gives the length of a file, or `None` when there is none.
    ///
    /// # Errors
    /// When the system fails.
    fn len(&self, path: &Path) -> io::Result<Option<u64>>;
    /// Lists the names in a folder; a missing folder has none.
    ///
    /// # Errors
    /// When the system fails.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Takes a folder for this process. `None` when another has it.
    ///
    /// # Errors
    /// When the system fails.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FolderLock>>>;
    /// Makes a file without a name: it vanishes with its handle, or with the process.
    ///
    /// # Errors
    /// When the system fails.
    fn spool(&self, dir: &Path) -> io::Result<Box<dyn Spool>>;
}

/// A nameless file that is written, then read from its start.
pub trait Spool: Read + Write + Seek + Send + Debug {}

/// Writes a small file so that after a power cut either all of it is there under its name, or none.
///
/// # Errors
/// When a step fails; the temporary name may then remain and is overwritten by the next try.
pub(crate) fn write_durably(files: &dyn Files, path: &Path, content: &[u8]) -> io::Result<()> {
    let no_dir = || io::Error::new(io::ErrorKind::InvalidInput, "a file needs a folder");
    let dir = path.parent().ok_or_else(no_dir)?;
    let temp = path.with_extension("tmp");
    let mut file = files.create(&temp)?;
    file.write_all(content)?;
    file.sync()?;
    drop(file);
    files.rename(&temp, path)?;
    files.sync_dir(dir)
}

/// Makes a folder and those above it that are missing, and makes their names durable.
///
/// A folder that is there already is synced into its parent as well: whoever made it may not have come to that yet.
///
/// # Errors
/// When a step fails.
pub fn make_dirs(files: &dyn Files, dir: &Path) -> io::Result<()> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match files.make_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent != dir => {
            make_dirs(files, parent)?;
            files.make_dir(dir)?;
        }
        made => drop(made?),
    }
    files.sync_dir(parent)
}

/// Reads a small file; `None` when it is missing.
///
/// # Errors
/// When it is longer than `bytes_max`, or the system fails.
pub(crate) fn read_small(files: &dyn Files, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match files.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is longer than it can be"));
    }
    Ok(Some(content))
}

/// The system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

#[derive(Debug)]
struct OsLock(#[expect(dead_code, reason = "held for its lock, which ends with it")] File);

impl FolderLock for OsLock {}

impl FileRead for File {}

impl Spool for File {}

impl FileWrite for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Files for OsFiles {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        use std::os::unix::fs::DirBuilderExt;
        match std::fs::DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWrite>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileRead>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FolderLock>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(OsLock(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn spool(&self, dir: &Path) -> io::Result<Box<dyn Spool>> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let path = dir.join(format!("{:016x}.spool", u64::from_le_bytes(random)));
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Box::new(file))
    }
}
