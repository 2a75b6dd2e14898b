//! What a slot holds and how it is written; and `autoboot.txt`, which says which slot starts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::ImageError;
use crate::fat::Fat;

/// How full a slot may be, per cent: the next version is larger than this one, and the slots never grow.
pub const FULL_PERCENT_MAX: u64 = 60;

/// The list of all files of a slot with their SHA-256, in the form of sha256sum(1).
pub const SUM_FILE: &str = "slot.sum";

/// What the slot is: lines of `key=value`.
pub const RELEASE_FILE: &str = "release.txt";

/// Which partition starts, on p1.
pub const AUTOBOOT_FILE: &str = "autoboot.txt";

/// Length of `autoboot.txt` at all times, bytes: within one sector, and well below the 512 that the firmware takes.
pub const AUTOBOOT_BYTES: usize = 256;

/// The text of `autoboot.txt` that starts `partition`, and `other` once when it is tried.
#[must_use]
pub fn autoboot(partition: u8, other: u8) -> Vec<u8> {
    let text =
        format!("[all]\ntryboot_a_b=1\nboot_partition={partition}\n[tryboot]\nboot_partition={other}\n");
    let mut bytes = text.into_bytes();
    bytes.resize(AUTOBOOT_BYTES, b'\n');
    bytes
}

/// Writes files into a slot, in the order of their names, and then the list of them.
///
/// # Errors
/// When a file cannot be read or written, or the slot gets too full.
pub fn write(fat: &Fat<'_>, files: &BTreeMap<String, PathBuf>) -> Result<(), ImageError> {
    let mut sums = String::new();
    for (name, path) in files {
        let file = File::open(path).map_err(ImageError::inside("read what becomes", name))?;
        let mut hashed = Hashed { inner: file, hash: Sha256::new() };
        fat.write(name, &mut hashed)?;
        sums.push_str(&format!("{}  {name}\n", HEXLOWER.encode(&hashed.hash.finalize())));
    }
    fat.write(SUM_FILE, &mut sums.as_bytes())?;
    match fat.percent_full()? {
        percent if percent > FULL_PERCENT_MAX => Err(ImageError::SlotTooFull { percent }),
        _ => Ok(()),
    }
}

/// The names and sums of a list; lines of another form are left out.
pub(crate) fn sums(list: &str) -> BTreeMap<&str, &str> {
    list.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect()
}

/// SHA-256 of a content, in the form of the list.
pub(crate) fn sum(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}

/// The value of a key of `release.txt`.
pub(crate) fn release_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PartitionPlace;

    fn image(size_bytes: u64) -> (File, PartitionPlace) {
        let image = tempfile::tempfile().unwrap();
        image.set_len(size_bytes).unwrap();
        (image, PartitionPlace { number: 2, kind: 0x0C, start_bytes: 0, size_bytes })
    }

    #[test]
    fn autoboot_is_as_long_whatever_it_says() {
        for (partition, other) in [(2, 3), (3, 2)] {
            let text = String::from_utf8(autoboot(partition, other)).unwrap();
            assert_eq!(text.len(), AUTOBOOT_BYTES);
            assert!(text.starts_with(&format!("[all]\ntryboot_a_b=1\nboot_partition={partition}\n")));
        }
    }

    #[test]
    fn the_list_names_every_file_with_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("k"), b"abc").unwrap();
        let files = BTreeMap::from([("kernel8.img".to_owned(), folder.path().join("k"))]);
        let (image, place) = image(64 * 1024 * 1024);
        let fat = Fat::format(&image, place, "SLOT", 1).unwrap();
        write(&fat, &files).unwrap();
        let list = String::from_utf8(fat.read(SUM_FILE).unwrap().unwrap()).unwrap();
        // FIPS 180-4's example for "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(list, format!("{abc}  kernel8.img\n"));
        assert_eq!(sums(&list).get("kernel8.img"), Some(&abc));
        assert_eq!(sum(b"abc"), abc);
    }

    #[test]
    fn a_slot_that_leaves_no_room_to_grow_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        File::create(&path).unwrap().set_len(41 * 1024 * 1024).unwrap();
        let (image, place) = image(64 * 1024 * 1024);
        let fat = Fat::format(&image, place, "SLOT", 1).unwrap();
        let done = write(&fat, &BTreeMap::from([("large".to_owned(), path)]));
        assert!(matches!(done, Err(ImageError::SlotTooFull { percent: 61..=70 })), "{done:?}");
    }
}
