//! What a Raspberry Pi's firmware does with an image: which slot it starts, and with which files.
//!
//! It is no firmware but its documented rules, each with its source, for machines whose emulator has none. What the
//! documentation leaves open is decided for the worse.

use std::fs::File;

use crate::config_txt::Config;
use crate::fat::Fat;
use crate::slot::AUTOBOOT_FILE;
use crate::{ImageError, Model, PartitionPlace, read_partitions};

/// Largest `autoboot.txt` (Raspberry Pi documentation, autoboot.txt).
const AUTOBOOT_BYTES_MAX: usize = 512;

/// The partition that starts when nothing else is said or possible.
const FIRST: u8 = 1;

/// How the machine came to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// The power came: no flag and no partition number survive that (home-assistant/operating-system pull 4888 lost an
    /// update by it).
    #[default]
    Cold,
    /// The kernel restarted it, with what the argument of `reboot` said.
    Warm {
        /// The partition to start; 0 leaves it to `autoboot.txt`.
        partition: u8,
        /// The one-shot flag. It is cleared before the firmware starts (documentation, fail-safe OS updates), so that the
        /// next reset is one without it, whatever becomes of this start.
        tryboot: bool,
    },
}

/// What is started.
#[derive(Clone, PartialEq, Eq)]
pub struct Start {
    /// The partition that it came from.
    pub partition: u8,
    /// Whether this start is a trial.
    pub tryboot: bool,
    /// The kernel's image, as it lies in the slot.
    pub kernel: Vec<u8>,
    /// The initramfs.
    pub initramfs: Vec<u8>,
    /// The kernel's command line, without what the firmware adds.
    pub command_line: String,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start")
            .field("partition", &self.partition)
            .field("tryboot", &self.tryboot)
            .field("command_line", &self.command_line)
            .finish_non_exhaustive()
    }
}

impl Start {
    /// The command line for a machine without the device tree's `chosen/bootloader`: what that would hold is in words.
    #[must_use]
    pub fn told_command_line(&self) -> String {
        let Self { command_line, partition, tryboot, .. } = self;
        format!("{command_line} perch.partition={partition} perch.tryboot={}", u8::from(*tryboot))
    }
}

/// Why nothing starts.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The image cannot be read.
    #[error("the image cannot be read")]
    Image(#[from] ImageError),
    /// Neither the wanted partition nor the first one can be started.
    #[error("partition {wanted} cannot be started, and partition 1 neither")]
    NothingBoots {
        /// What `autoboot.txt` or the restart asked for.
        wanted: u8,
    },
    /// The partition was chosen, and then lacks a file: the firmware stops there.
    #[error("partition {partition} has no `{file}`")]
    Missing {
        /// Which.
        partition: u8,
        /// The file.
        file: String,
    },
}

/// Starts an image as the firmware of a model would.
///
/// # Errors
/// [`StartError`]: a machine that stays dark.
pub fn start(image: &File, model: Model, reset: Reset) -> Result<Start, StartError> {
    let (asked, tryboot) = match reset {
        Reset::Cold => (0, false),
        Reset::Warm { partition, tryboot } => (partition, tryboot),
    };
    let places = read_partitions(image)?;
    let auto = autoboot(image, &places, model, tryboot)?;
    // A number that came with the restart goes before `boot_partition` (documentation, boot_partition).
    let wanted = if asked == 0 { auto.partition } else { asked };
    let partition = if is_bootable(image, &places, wanted, model)? {
        wanted
    } else if is_bootable(image, &places, FIRST, model)? {
        // rpi-eeprom pull 446: "Fix failover to partition 1 if the `boot_partition` points to non-bootable partition".
        FIRST
    } else {
        return Err(StartError::NothingBoots { wanted });
    };
    // Without `tryboot_a_b` a trial reads `tryboot.txt`; a box whose partition lacks it stays dark
    // (home-assistant/operating-system issue 3740).
    let config_file = if tryboot && !auto.by_partition { "tryboot.txt" } else { "config.txt" };
    let fat = fat(image, &places, partition)?;
    let file = |name: &str| {
        let missing = || StartError::Missing { partition, file: name.to_owned() };
        fat.read(name)?.ok_or_else(missing)
    };
    let config = Config::read(&String::from_utf8_lossy(&file(config_file)?), model, tryboot);
    let command_line = String::from_utf8_lossy(&file(config.command_line_file())?).trim().to_owned();
    let initramfs = config.initramfs_file().map(&file).transpose()?.unwrap_or_default();
    Ok(Start { partition, tryboot, kernel: file(config.kernel_file(model))?, initramfs, command_line })
}

struct Autoboot {
    partition: u8,
    by_partition: bool,
}

/// Reads `autoboot.txt` of the first partition. Without one, or with one that is too large, the first bootable FAT partition
/// starts, which here is always p1; the documentation says nothing of too large ones.
fn autoboot(
    image: &File,
    places: &[PartitionPlace],
    model: Model,
    tryboot: bool,
) -> Result<Autoboot, ImageError> {
    let none = Autoboot { partition: FIRST, by_partition: false };
    let Ok(first) = fat(image, places, FIRST) else { return Ok(none) };
    if !first.is_readable() {
        return Ok(none);
    }
    let text = first.read(AUTOBOOT_FILE)?.filter(|text| text.len() <= AUTOBOOT_BYTES_MAX);
    let Some(text) = text else { return Ok(none) };
    let config = Config::read(&String::from_utf8_lossy(&text), model, tryboot);
    let partition = config.value("boot_partition").and_then(|value| value.parse().ok());
    let partition = partition.filter(|number| *number != 0).unwrap_or(FIRST);
    Ok(Autoboot { partition, by_partition: config.value("tryboot_a_b") == Some("1") })
}

/// Whether a partition is FAT with `start.elf`, or on a Pi 5 with `config.txt` (documentation, boot_partition). A Pi 4 looks
/// for `start4.elf` (rpi-eeprom issue 738).
fn is_bootable(
    image: &File,
    places: &[PartitionPlace],
    number: u8,
    model: Model,
) -> Result<bool, ImageError> {
    let Ok(fat) = fat(image, places, number) else { return Ok(false) };
    if !fat.is_readable() {
        return Ok(false);
    }
    let sign = match model {
        Model::Pi3 | Model::Zero2W => "start.elf",
        Model::Pi4 => "start4.elf",
        Model::Pi5 | Model::QemuVirt => "config.txt",
    };
    Ok(fat.list()?.iter().any(|path| path.eq_ignore_ascii_case(sign)))
}

fn fat<'a>(image: &'a File, places: &[PartitionPlace], number: u8) -> Result<Fat<'a>, ImageError> {
    let place = places.iter().find(|place| place.number == number);
    place.map(|place| Fat::new(image, *place)).ok_or(ImageError::NoPartition(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, slot, write_table};
    use platform::board::Partitions;

    const TRIAL: Reset = Reset::Warm { partition: 0, tryboot: true };

    struct Card {
        image: File,
        layout: Layout,
    }

    /// A card whose slots differ in their kernels.
    fn card() -> Card {
        let layout = Layout::of(&Partitions { boot_mib: 64, slot_mib: 64, align_mib: 4 }).unwrap();
        let image = tempfile::tempfile().unwrap();
        image.set_len(layout.size_bytes()).unwrap();
        write_table(&image, &layout, 1).unwrap();
        let boot = Fat::format(&image, layout.boot, "PERCH", 1).unwrap();
        boot.write(AUTOBOOT_FILE, &mut &slot::autoboot(2, 3)[..]).unwrap();
        for place in layout.slots {
            let fat = Fat::format(&image, place, "SLOT", 2).unwrap();
            let config = "arm_64bit=1\ninitramfs initramfs.zst followkernel\n";
            let kernel = format!("kernel of {}", place.number);
            let files = [("config.txt", config), ("cmdline.txt", "quiet\n"), ("kernel8.img", &kernel)];
            for (name, content) in files.into_iter().chain([("initramfs.zst", "i"), ("start.elf", "s")]) {
                fat.write(name, &mut content.as_bytes()).unwrap();
            }
        }
        Card { image, layout }
    }

    impl Card {
        fn boot(&self) -> Fat<'_> {
            Fat::new(&self.image, self.layout.boot)
        }

        fn slot(&self, number: usize) -> Fat<'_> {
            Fat::new(&self.image, self.layout.slots[number - 2])
        }

        fn starts(&self, reset: Reset) -> u8 {
            let start = start(&self.image, Model::QemuVirt, reset).unwrap();
            assert_eq!(start.kernel, format!("kernel of {}", start.partition).into_bytes());
            start.partition
        }
    }

    #[test]
    fn the_slot_of_autoboot_starts_and_a_trial_the_other() {
        let card = card();
        assert_eq!(card.starts(Reset::Cold), 2);
        assert_eq!(card.starts(TRIAL), 3);
        assert_eq!(card.starts(Reset::Warm { partition: 3, tryboot: false }), 3, "asked for by number");
        assert_eq!(card.starts(Reset::Warm { partition: 0, tryboot: false }), 2, "the flag is gone");
        card.boot().overwrite(AUTOBOOT_FILE, &slot::autoboot(3, 2)).unwrap();
        assert_eq!(card.starts(Reset::Cold), 3);
        let trial = start(&card.image, Model::QemuVirt, TRIAL).unwrap();
        assert_eq!(trial.told_command_line(), "quiet perch.partition=2 perch.tryboot=1");
    }

    #[test]
    fn a_slot_that_cannot_start_gives_way_to_the_first_partition() {
        let card = card();
        card.slot(2).remove("config.txt").unwrap();
        let dark = start(&card.image, Model::QemuVirt, Reset::Cold);
        assert!(matches!(dark, Err(StartError::NothingBoots { wanted: 2 })), "{dark:?}");
        for (name, content) in [("config.txt", "kernel=k\n"), ("cmdline.txt", "rescue"), ("k", "kernel of 1")]
        {
            card.boot().write(name, &mut content.as_bytes()).unwrap();
        }
        assert_eq!(card.starts(Reset::Cold), 1);
        assert_eq!(card.starts(TRIAL), 3);
    }

    #[test]
    fn a_missing_or_oversized_autoboot_starts_the_first_partition() {
        let card = card();
        let wanted = |card: &Card| match start(&card.image, Model::Pi3, Reset::Cold) {
            Err(StartError::NothingBoots { wanted }) => wanted,
            other => panic!("{other:?}"),
        };
        card.boot().remove(AUTOBOOT_FILE).unwrap();
        assert_eq!(wanted(&card), 1);
        let mut large = slot::autoboot(2, 3);
        large.resize(513, b'\n');
        card.boot().write(AUTOBOOT_FILE, &mut &large[..]).unwrap();
        assert_eq!(wanted(&card), 1);
    }

    #[test]
    fn without_tryboot_a_b_a_trial_wants_another_file() {
        let card = card();
        card.boot().write(AUTOBOOT_FILE, &mut &b"boot_partition=2\n"[..]).unwrap();
        let dark = start(&card.image, Model::QemuVirt, TRIAL);
        assert!(matches!(dark, Err(StartError::Missing { partition: 2, file }) if file == "tryboot.txt"));
    }

    #[test]
    fn each_model_knows_a_bootable_partition_by_its_own_file() {
        let card = card();
        assert_eq!(start(&card.image, Model::Pi3, Reset::Cold).unwrap().partition, 2);
        let dark = start(&card.image, Model::Pi4, Reset::Cold);
        assert!(matches!(dark, Err(StartError::NothingBoots { .. })), "it wants start4.elf");
    }

    #[test]
    fn a_chosen_slot_without_its_kernel_stays_dark() {
        let card = card();
        card.slot(2).remove("kernel8.img").unwrap();
        let dark = start(&card.image, Model::QemuVirt, Reset::Cold);
        assert!(matches!(dark, Err(StartError::Missing { partition: 2, file }) if file == "kernel8.img"));
    }
}
