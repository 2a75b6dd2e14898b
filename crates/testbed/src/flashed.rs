//! A flashed card: a copy of an image on a card, which the stand-in for the firmware starts in a machine.
//!
//! The slot is chosen from the card's own bytes by `image::firmware`, and its kernel, initramfs and command line are read out
//! of the card's FAT: the machine gets what a Pi would get.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use image::firmware::{self, Reset, Start};
use image::{Model, PartitionPlace, fat::Fat};

use crate::{Setup, TestbedError, host::output};

/// Size of the card: an SD card's must be a power of two, and the image must have room to grow.
pub const CARD_BYTES: u64 = 1 << 30;

/// Where the owner's settings are, on the first partition.
const SETTINGS_FILE: &str = "perch.toml";

/// A card with an image on it.
#[derive(Debug)]
pub struct Flashed {
    path: PathBuf,
    file: File,
}

impl Flashed {
    /// Flashes an unpacked image to the card file `card`.
    ///
    /// # Errors
    /// When the image is missing or larger than the card, or the card cannot be written.
    pub fn new(image: &Path, card: &Path) -> Result<Self, TestbedError> {
        let (from, to) = (image.to_string_lossy(), card.to_string_lossy());
        output(Path::new("/"), "cp", &["--sparse=always", &from, &to])?;
        let file = OpenOptions::new().read(true).write(true).open(card);
        let file = file.map_err(TestbedError::file("open", card))?;
        file.set_len(CARD_BYTES).map_err(TestbedError::file("lengthen", card))?;
        Ok(Self { path: card.to_owned(), file })
    }

    /// The card's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The partitions that the card's table names now.
    ///
    /// # Errors
    /// When there is no table.
    pub fn partitions(&self) -> Result<Vec<PartitionPlace>, TestbedError> {
        Ok(image::read_partitions(&self.file)?)
    }

    /// The FAT file system of a partition, while no machine runs from the card.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn fat(&self, number: u8) -> Result<Fat<'_>, TestbedError> {
        let place = self.partitions()?.into_iter().find(|place| place.number == number);
        let place = place.ok_or(image::ImageError::NoPartition(number))?;
        Ok(Fat::new(&self.file, place))
    }

    /// Writes the owner's settings, as at another computer before the first start.
    ///
    /// # Errors
    /// When the card cannot be written.
    pub fn write_settings(&self, text: &str) -> Result<(), TestbedError> {
        Ok(self.fat(1)?.write(SETTINGS_FILE, &mut text.as_bytes())?)
    }

    /// What the firmware would start now.
    ///
    /// # Errors
    /// When the box would stay dark.
    pub fn start(&self, reset: Reset) -> Result<Start, TestbedError> {
        Ok(firmware::start(&self.file, Model::QemuVirt, reset)?)
    }

    /// Gives a machine what the firmware would start now; `folder` takes the files.
    ///
    /// # Errors
    /// As [`Flashed::start`], and when the files cannot be written.
    pub fn system(&self, setup: Setup, reset: Reset, folder: &Path) -> Result<Setup, TestbedError> {
        let start = self.start(reset)?;
        let (kernel, initramfs) = (folder.join("kernel"), folder.join("initramfs"));
        for (path, content) in [(&kernel, &start.kernel), (&initramfs, &start.initramfs)] {
            fs::write(path, content).map_err(TestbedError::file("write", path))?;
        }
        Ok(setup.system(&kernel, &initramfs, &start.told_command_line()))
    }
}
