//! What happens to the disks of a machine, as one ordered list; the bytes themselves lie in a spill file.
//!
//! The order is total, over all disks too: writes, flushes, answers and marks are entered under one lock. A flush covers
//! the writes to its own disk whose answers had left before it came, no more: that is what NBD, virtio and the disks
//! behind them promise. So answers are entries of their own, and a flush counts from the answer to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The unit in which a disk writes, bytes: it is old or new, never a mixture.
pub const SECTOR_BYTES: usize = 512;

/// Zeros that are written at once, bytes.
const ZEROS_BYTES: usize = 64 * 1024;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Bytes were written.
    Write {
        /// To which disk.
        disk: usize,
        /// Where, bytes from the start of the disk.
        offset: u64,
        /// How many bytes.
        len: u64,
        /// Where the bytes lie in the spill file; `None` for zeros, or room that was given back.
        data: Option<u64>,
        /// The answer promises that these bytes stay.
        fua: bool,
    },
    /// The machine asked this disk to keep all that it had answered before.
    Flush(usize),
    /// This disk's answers to everything before this entry left.
    Answered(usize),
    /// Somebody outside was told that something is safe.
    Mark(String),
}

/// Why the disk's files could not be used; the disk answers with an error then.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The base image could not be taken over.
    #[error("taking over the disk image {}", path.display())]
    Base {
        /// The image.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The disk's content or its log could not be written.
    #[error("writing the disk's log")]
    Write(#[source] io::Error),
    /// The disk's content or its log could not be read.
    #[error("reading the disk")]
    Read(#[source] io::Error),
    /// The machine asked for what lies outside the disk.
    #[error("{len} bytes at {offset} are outside the disk")]
    Outside {
        /// Where, bytes.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
}

/// A disk while the machine runs, and the log that it shares with those [beside](Recorder::beside) it.
#[derive(Debug)]
pub struct Recorder {
    /// Its number in the log.
    disk: usize,
    bytes: u64,
    /// What the machine reads: everything that it wrote.
    live: File,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    spilled: u64,
}

/// Everything that happened to the disks.
#[derive(Debug)]
pub struct Log {
    /// The disks as they were before the first entry.
    pub bases: Vec<File>,
    /// In order.
    pub entries: Vec<Entry>,
    spill: File,
}

impl Recorder {
    /// Takes a disk image as the state before the first entry. The image is left as it is.
    ///
    /// Content and log lie in nameless files of `scratch`: they vanish with the process.
    ///
    /// # Errors
    /// When the image cannot be read, or the files cannot be made.
    pub fn new(image: &Path, scratch: &Path) -> Result<Self, LogError> {
        let spill = nameless(scratch).map_err(|source| base_error(image, source))?;
        let log = Log { bases: Vec::new(), entries: Vec::new(), spill };
        Self::add(image, scratch, Arc::new(Mutex::new(Inner { log, spilled: 0 })))
    }

    /// Takes another image as another disk of the same machine: what happens to both is in one log.
    ///
    /// # Errors
    /// As [`Recorder::new`].
    pub fn beside(&self, image: &Path, scratch: &Path) -> Result<Self, LogError> {
        Self::add(image, scratch, Arc::clone(&self.inner))
    }

    fn add(image: &Path, scratch: &Path, inner: Arc<Mutex<Inner>>) -> Result<Self, LogError> {
        let failed = |source| base_error(image, source);
        let mut base = File::open(image).map_err(failed)?;
        let bytes = base.metadata().map_err(failed)?.len();
        let mut live = nameless(scratch).map_err(failed)?;
        io::copy(&mut base, &mut live).map_err(failed)?;
        let disk = {
            let bases = &mut inner.lock().unwrap_or_else(PoisonError::into_inner).log.bases;
            bases.push(base);
            bases.len() - 1
        };
        Ok(Self { disk, bytes, live, inner })
    }

    /// Gives the size of the disk, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the number of entries.
    #[must_use]
    pub fn position(&self) -> usize {
        self.inner().log.entries.len()
    }

    /// Notes that somebody was told that something is safe, and gives the position after that.
    pub fn mark(&self, what: impl Into<String>) -> usize {
        let mut inner = self.inner();
        inner.log.entries.push(Entry::Mark(what.into()));
        inner.log.entries.len()
    }

    /// Gives what the disk holds, as the machine sees it.
    ///
    /// # Errors
    /// When the range is outside the disk, or the file cannot be read.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.check(offset, u64::try_from(into.len()).unwrap_or(u64::MAX))?;
        self.live.read_exact_at(into, offset).map_err(LogError::Read)
    }

    /// Enters a write.
    ///
    /// # Errors
    /// When the range is outside the disk, or a file cannot be written.
    pub fn write(&self, offset: u64, bytes: &[u8], fua: bool) -> Result<(), LogError> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.check(offset, len)?;
        let mut inner = self.inner();
        let place = inner.spilled;
        inner.log.spill.write_all_at(bytes, place).map_err(LogError::Write)?;
        inner.spilled = place.saturating_add(len);
        self.live.write_all_at(bytes, offset).map_err(LogError::Write)?;
        inner.log.entries.push(Entry::Write { disk: self.disk, offset, len, data: Some(place), fua });
        Ok(())
    }

    /// Enters zeros; room that is given back reads as zeros as well.
    ///
    /// # Errors
    /// When the range is outside the disk, or the file cannot be written.
    pub fn write_zeros(&self, offset: u64, len: u64, fua: bool) -> Result<(), LogError> {
        self.check(offset, len)?;
        let mut inner = self.inner();
        let (zeros, mut at) = ([0_u8; ZEROS_BYTES], offset);
        let end = offset.saturating_add(len);
        while at < end {
            let now = usize::try_from(end - at).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            let piece = zeros.get(..now).unwrap_or_default();
            self.live.write_all_at(piece, at).map_err(LogError::Write)?;
            at = at.saturating_add(u64::try_from(now).unwrap_or(u64::MAX));
        }
        inner.log.entries.push(Entry::Write { disk: self.disk, offset, len, data: None, fua });
        Ok(())
    }

    /// Enters that the machine asks to keep what was answered.
    pub fn flush(&self) {
        self.inner().log.entries.push(Entry::Flush(self.disk));
    }

    /// Enters that the answers to everything before leave now.
    pub fn answered(&self) {
        self.inner().log.entries.push(Entry::Answered(self.disk));
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), LogError> {
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= self.bytes);
        if is_inside { Ok(()) } else { Err(LogError::Outside { offset, len }) }
    }

    /// Ends the recording: what comes from the machine after this is not in the log.
    ///
    /// # Errors
    /// When the files cannot be shared.
    pub fn finish(&self) -> Result<Log, LogError> {
        self.inner().log.try_clone().map_err(LogError::Read)
    }
}

impl Log {
    fn try_clone(&self) -> io::Result<Self> {
        let bases = self.bases.iter().map(File::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { bases, entries: self.entries.clone(), spill: self.spill.try_clone()? })
    }

    /// Gives the bytes of a write.
    pub(super) fn content(&self, len: u64, data: Option<u64>) -> io::Result<Vec<u8>> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; len];
        if let Some(place) = data {
            self.spill.read_exact_at(&mut bytes, place)?;
        }
        Ok(bytes)
    }

    /// Gives the log of a back end of one disk that answers every flush and, after entry `from`, does only one in
    /// `kept_one_in` of them.
    ///
    /// The machine cannot tell such a back end from an honest one, so its log differs in nothing else.
    ///
    /// # Errors
    /// When the files cannot be shared.
    pub fn with_lost_flushes(&self, disk: usize, from: usize, kept_one_in: usize) -> Result<Self, LogError> {
        let mut log = self.try_clone().map_err(LogError::Read)?;
        let flushes = log.entries.iter_mut().skip(from).filter(|entry| **entry == Entry::Flush(disk));
        for (number, flush) in (1_usize..).zip(flushes) {
            if !number.is_multiple_of(kept_one_in) {
                // Places in the log stay as they are, since promises name them.
                *flush = Entry::Mark("a flush that was lost".to_owned());
            }
        }
        Ok(log)
    }
}

fn base_error(image: &Path, source: io::Error) -> LogError {
    LogError::Base { path: image.to_owned(), source }
}

fn nameless(folder: &Path) -> io::Result<File> {
    tempfile::tempfile_in(folder)
}
