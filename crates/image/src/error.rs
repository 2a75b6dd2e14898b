//! What can go wrong with an image: one variant per failed operation.

use std::io;

/// Why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Its file cannot be read or written.
    #[error("cannot {operation}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file inside one of its FAT partitions cannot be read or written.
    #[error("cannot {operation} `{path}` in a FAT partition")]
    Inside {
        /// What was tried.
        operation: &'static str,
        /// The file's path in the partition.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no MBR at its start.
    #[error("it has no MBR partition table")]
    NoTable,
    /// It lacks a partition.
    #[error("it has no partition {0}")]
    NoPartition(u8),
    /// The board's sizes make no layout.
    #[error("the partitions of {0} MiB do not fit an MBR")]
    TooLarge(u64),
    /// A slot would be fuller than an update can rely on.
    #[error("a slot would be {percent} % full, more than {} %", crate::slot::FULL_PERCENT_MAX)]
    SlotTooFull {
        /// How full it would be.
        percent: u64,
    },
}

impl ImageError {
    /// Names what was tried with the image file.
    pub(crate) fn file(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { operation, source }
    }

    /// Names what was tried with a file inside.
    pub(crate) fn inside(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Inside { operation, path: path.to_owned(), source }
    }
}
