//! The FAT partitions of an image: made with the same bytes each time, read as the firmware reads them.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};

use crate::{ImageError, Part, PartitionPlace};

/// Clusters below which a file system counts as FAT16, whatever it calls itself (Microsoft's FAT specification).
const FAT32_CLUSTERS_MIN: u64 = 65_525;

/// Parts per thousand of a partition that the tables and the reserved sectors may take at the smallest clusters.
const TABLES_PER_MILLE: u64 = 20;

/// The time of every file: FAT's first day, so that a build does not depend on its own time.
#[derive(Debug)]
struct FirstDay;

impl TimeProvider for FirstDay {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

static FIRST_DAY: FirstDay = FirstDay;

/// A FAT partition of an image.
#[derive(Debug, Clone, Copy)]
pub struct Fat<'a> {
    image: &'a File,
    place: PartitionPlace,
}

impl<'a> Fat<'a> {
    /// A partition that holds FAT already.
    #[must_use]
    pub fn new(image: &'a File, place: PartitionPlace) -> Self {
        Self { image, place }
    }

    /// Makes an empty FAT32 with a label of up to eleven characters.
    ///
    /// # Errors
    /// When the image cannot be written.
    pub fn format(
        image: &'a File,
        place: PartitionPlace,
        label: &str,
        volume_id: u32,
    ) -> Result<Self, ImageError> {
        let mut padded = [b' '; 11];
        for (to, from) in padded.iter_mut().zip(label.bytes()) {
            *to = from;
        }
        let options = FormatVolumeOptions::new()
            .fat_type(FatType::Fat32)
            .bytes_per_cluster(cluster_bytes(place.size_bytes))
            .volume_id(volume_id)
            .volume_label(padded);
        let made = fatfs::format_volume(Part::new(image, place), options);
        made.map_err(ImageError::file("make a FAT file system"))?;
        Ok(Self { image, place })
    }

    fn open(&self) -> Result<FileSystem<Part<'a>>, ImageError> {
        let options = FsOptions::new().update_accessed_date(false).time_provider(&FIRST_DAY);
        let opened = FileSystem::new(Part::new(self.image, self.place), options);
        opened.map_err(ImageError::file("open a FAT file system"))
    }

    /// Tells whether there is a FAT file system at all.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.open().is_ok()
    }

    /// Writes a file whose content is read from `content`; folders above it are made.
    ///
    /// # Errors
    /// When it cannot be written, such as when there is no room.
    pub fn write(&self, path: &str, content: &mut impl Read) -> Result<(), ImageError> {
        let system = self.open()?;
        let mut write = || {
            let mut folder = system.root_dir();
            let mut name = path;
            while let Some((above, rest)) = name.split_once('/') {
                folder = folder.create_dir(above)?;
                name = rest;
            }
            let mut file = folder.create_file(name)?;
            file.truncate()?;
            std::io::copy(content, &mut file)?;
            file.flush()
        };
        write().map_err(ImageError::inside("write", path))?;
        system.unmount().map_err(ImageError::inside("write", path))
    }

    /// Overwrites the start of a file that exists, without changing its length, place or entry.
    ///
    /// # Errors
    /// When it is not there or shorter.
    pub fn overwrite(&self, path: &str, content: &[u8]) -> Result<(), ImageError> {
        let system = self.open()?;
        let write = || {
            let mut file = system.root_dir().open_file(path)?;
            if file.seek(SeekFrom::End(0))? < u64::try_from(content.len()).unwrap_or(u64::MAX) {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
            file.seek(SeekFrom::Start(0))?;
            file.write_all(content)
        };
        write().map_err(ImageError::inside("overwrite", path))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, path: &str) -> Result<(), ImageError> {
        let system = self.open()?;
        let removed = system.root_dir().remove(path);
        removed.map_err(ImageError::inside("remove", path))
    }

    /// Reads a whole file; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let system = self.open()?;
        let mut file = match system.root_dir().open_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ImageError::inside("open", path)(source)),
        };
        let mut content = Cursor::new(Vec::new());
        std::io::copy(&mut file, &mut content).map_err(ImageError::inside("read", path))?;
        Ok(Some(content.into_inner()))
    }

    /// The paths of all files, sorted.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self) -> Result<Vec<String>, ImageError> {
        let system = self.open()?;
        let mut paths = Vec::new();
        let mut folders = vec![(String::new(), system.root_dir())];
        while let Some((above, folder)) = folders.pop() {
            for entry in folder.iter() {
                let entry = entry.map_err(ImageError::inside("list", &above))?;
                let name = entry.file_name();
                if name == "." || name == ".." {
                    continue;
                }
                let path = format!("{above}{name}");
                if entry.is_dir() {
                    folders.push((format!("{path}/"), entry.to_dir()));
                } else {
                    paths.push(path);
                }
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// How full it is, per cent, rounded up.
    ///
    /// # Errors
    /// When its tables cannot be read.
    pub fn percent_full(&self) -> Result<u64, ImageError> {
        let system = self.open()?;
        let stats = system.stats().map_err(ImageError::file("count what is free"))?;
        let (total, free) = (u64::from(stats.total_clusters()), u64::from(stats.free_clusters()));
        Ok((total.saturating_sub(free) * 100).div_ceil(total.max(1)))
    }
}

/// The largest clusters, up to 4 KiB, with which a partition is FAT32 and not FAT16.
fn cluster_bytes(size_bytes: u64) -> u32 {
    let room = size_bytes / 1000 * (1000 - TABLES_PER_MILLE);
    [4096_u32, 2048, 1024]
        .into_iter()
        .find(|cluster| room / u64::from(*cluster) > FAT32_CLUSTERS_MIN)
        .unwrap_or(512)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: PartitionPlace =
        PartitionPlace { number: 1, kind: 0x0C, start_bytes: 4096, size_bytes: 64 * 1024 * 1024 };

    fn image() -> File {
        let image = tempfile::tempfile().unwrap();
        image.set_len(PLACE.start_bytes + PLACE.size_bytes).unwrap();
        image
    }

    fn bytes(mut image: &File) -> Vec<u8> {
        let mut all = Vec::new();
        image.seek(SeekFrom::Start(0)).unwrap();
        image.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn files_are_read_as_they_were_written_and_twice_the_same() {
        let made = || {
            let image = image();
            let fat = Fat::format(&image, PLACE, "PERCH", 7).unwrap();
            fat.write("perch.toml", &mut &b"# settings"[..]).unwrap();
            fat.write("overlays/long-name-of-a-file.dtbo", &mut &[7; 5000][..]).unwrap();
            image
        };
        let (first, second) = (made(), made());
        let fat = Fat::new(&first, PLACE);
        assert_eq!(fat.list().unwrap(), ["overlays/long-name-of-a-file.dtbo", "perch.toml"]);
        assert_eq!(fat.read("perch.toml").unwrap().unwrap(), b"# settings");
        assert_eq!(fat.read("OVERLAYS/LONG-NAME-OF-A-FILE.DTBO").unwrap().unwrap(), [7; 5000]);
        assert_eq!(fat.read("none").unwrap(), None);
        assert!(bytes(&first) == bytes(&second), "the bytes differ");
        // Nothing before the partition was touched.
        assert_eq!(bytes(&first)[..4096], [0; 4096]);
    }

    #[test]
    fn a_file_is_overwritten_in_place() {
        let image = image();
        let fat = Fat::format(&image, PLACE, "PERCH", 7).unwrap();
        fat.write("autoboot.txt", &mut &[b'a'; 256][..]).unwrap();
        let before = bytes(&image);
        fat.overwrite("autoboot.txt", &[b'b'; 256]).unwrap();
        let after = bytes(&image);
        let changed: Vec<usize> = (0..before.len()).filter(|&at| before[at] != after[at]).collect();
        assert_eq!(changed.len(), 256);
        assert_eq!(changed[0] / 512, changed[255] / 512, "it is in one sector");
        assert!(fat.overwrite("autoboot.txt", &[b'c'; 257]).is_err());
        assert!(fat.overwrite("none", b"x").is_err());
    }

    #[test]
    fn small_partitions_are_fat32_too() {
        assert_eq!(cluster_bytes(64 * 1024 * 1024), 512);
        assert_eq!(cluster_bytes(256 * 1024 * 1024), 2048);
        assert_eq!(cluster_bytes(1024 * 1024 * 1024), 4096);
    }

    #[test]
    fn fullness_is_counted_in_clusters() {
        let image = image();
        let fat = Fat::format(&image, PLACE, "PERCH", 7).unwrap();
        assert!(fat.percent_full().unwrap() <= 1);
        fat.write("half", &mut std::io::repeat(1).take(32 * 1024 * 1024)).unwrap();
        assert!((49..=53).contains(&fat.percent_full().unwrap()));
    }
}
