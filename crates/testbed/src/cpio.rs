//! Writes initramfs archives: the `newc` form of cpio that the kernel unpacks (its documentation, buffer-format.rst).
//!
//! Pure: paths and bytes in, bytes out. It knows files, folders, links and nothing else.

use std::collections::BTreeSet;

/// The kernel wants every archive that follows another to begin at a multiple of 4 bytes; cpio itself pads to 512.
const BLOCK: usize = 512;

/// File type bits of `mode` (stat.h).
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Longest content: the header's sizes have eight hexadecimal digits.
const CONTENT_BYTES_MAX: usize = u32::MAX as usize;

/// An archive that grows; folders above an entry are made as needed.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Starts an empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder and those above it.
    pub fn folder(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.folders.contains(path) {
            return;
        }
        self.folders_above(path);
        self.folders.insert(path.to_owned());
        self.entry(path, FOLDER | 0o755, &[]);
    }

    /// Adds a file with its permission bits.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        let path = path.trim_matches('/');
        self.folders_above(path);
        self.entry(path, FILE | (mode & 0o7777), content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        let path = path.trim_matches('/');
        self.folders_above(path);
        self.entry(path, LINK | 0o777, target.as_bytes());
    }

    /// Ends the archive and gives its bytes, a multiple of 512.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        pad(&mut self.bytes, BLOCK);
        self.bytes
    }

    fn folders_above(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let content = content.get(..CONTENT_BYTES_MAX).unwrap_or(content);
        let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
        // magic, inode, mode, user, group, links, time, size, four device numbers, length of the name, checksum.
        let header = format!(
            "070701{:08X}{mode:08X}{:08X}{:08X}{links:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}",
            self.entries,
            0,
            0,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            path.len() + 1,
            0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        pad(&mut self.bytes, 4);
        self.bytes.extend_from_slice(content);
        pad(&mut self.bytes, 4);
    }
}

fn pad(bytes: &mut Vec<u8>, multiple: usize) {
    bytes.resize(bytes.len().next_multiple_of(multiple), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_long_as_the_format_says() {
        let mut archive = Archive::new();
        archive.file("/a", 0o644, b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..117], b"hello");
        assert_eq!(&bytes[120..126], b"070701");
        assert_eq!(bytes.len() % BLOCK, 0);
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::new();
        archive.file("/x/y/one", 0o755, b"");
        archive.file("/x/y/two", 0o755, b"");
        let text = String::from_utf8_lossy(&archive.finish()).into_owned();
        let places: Vec<usize> =
            ["x\0", "x/y\0", "x/y/one\0", "x/y/two\0"].map(|name| text.find(name).unwrap()).into();
        assert!(places.is_sorted());
        assert_eq!(text.matches("x/y\0").count(), 1);
    }
}
