//! Looks an image over as the firmware of each model would: what is missing would leave that model dark, and nobody would
//! know before the first owner of one.
//!
//! File names are those of the Raspberry Pi documentation (boot folder contents, device trees, config.txt) and of the
//! kernel's own folder of device trees.

use std::fs::File;

use crate::config_txt::Config;
use crate::fat::Fat;
use crate::slot::{self, AUTOBOOT_BYTES, AUTOBOOT_FILE, FULL_PERCENT_MAX, RELEASE_FILE, SUM_FILE};
use crate::{ImageError, Layout, Model, PartitionPlace, read_partitions};

/// Files of the box itself, in every slot.
const OURS: &[&str] = &["base.squashfs", "perch.squashfs", SUM_FILE, RELEASE_FILE];

/// Files of p1 for every model.
const BOOT_FILES: &[&str] = &[AUTOBOOT_FILE, "perch.toml"];

/// Something that is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The partition; 0 for the table.
    pub partition: u8,
    /// The model that it is wrong for; `None` for all.
    pub model: Option<Model>,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p{}", self.partition)?;
        if let Some(model) = self.model {
            write!(f, ", {model:?}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Looks an image over. Empty means that nothing is wrong.
///
/// # Errors
/// When the image cannot be read at all.
pub fn check(image: &File, layout: &Layout) -> Result<Vec<Finding>, ImageError> {
    let mut findings = Vec::new();
    let mut tell = |partition: u8, model: Option<Model>, what: String| {
        findings.push(Finding { partition, model, what });
    };
    if read_partitions(image)? != layout.all() {
        tell(0, None, "the table is not that of the board".to_owned());
    }
    let boot = Fat::new(image, layout.boot);
    let boot_files = boot.list()?;
    for name in BOOT_FILES.iter().filter(|name| !has(&boot_files, name)) {
        tell(layout.boot.number, None, format!("`{name}` is missing"));
    }
    for what in check_autoboot(&boot, layout)? {
        tell(layout.boot.number, None, what);
    }
    let mut boards = Vec::new();
    for place in layout.slots {
        let slot = Slot::read(image, place)?;
        for what in slot.check_own()? {
            tell(place.number, None, what);
        }
        let models = Model::of_board(&slot.board);
        if models.is_empty() {
            tell(place.number, None, format!("`{RELEASE_FILE}` names no known board: `{}`", slot.board));
        }
        for model in models {
            for what in slot.check_for(*model)? {
                tell(place.number, Some(*model), what);
            }
            // The ROM of a Pi 3 reads p1 only, and starts nothing else (documentation, boot sequence).
            if matches!(model, Model::Pi3 | Model::Zero2W) && !has(&boot_files, "bootcode.bin") {
                tell(layout.boot.number, Some(*model), "`bootcode.bin` is missing".to_owned());
            }
        }
        boards.push(slot.board);
    }
    if boards.first() != boards.last() {
        tell(0, None, format!("the slots are for two boards: {}", boards.join(" and ")));
    }
    Ok(findings)
}

/// FAT knows no case.
fn has(files: &[String], name: &str) -> bool {
    files.iter().any(|own| own.eq_ignore_ascii_case(name))
}

fn check_autoboot(boot: &Fat<'_>, layout: &Layout) -> Result<Vec<String>, ImageError> {
    let Some(text) = boot.read(AUTOBOOT_FILE)? else { return Ok(Vec::new()) };
    let [a, b] = layout.slots.map(|place| place.number);
    let known = [slot::autoboot(a, b), slot::autoboot(b, a)];
    Ok(if known.contains(&text) {
        Vec::new()
    } else {
        vec![format!("`{AUTOBOOT_FILE}` is not one of the two texts of {AUTOBOOT_BYTES} bytes")]
    })
}

struct Slot<'a> {
    fat: Fat<'a>,
    files: Vec<String>,
    board: String,
}

impl<'a> Slot<'a> {
    fn read(image: &'a File, place: PartitionPlace) -> Result<Self, ImageError> {
        let fat = Fat::new(image, place);
        let release = fat.read(RELEASE_FILE)?.unwrap_or_default();
        let board = slot::release_value(&String::from_utf8_lossy(&release), "board").map(str::to_owned);
        Ok(Self { files: fat.list()?, fat, board: board.unwrap_or_default() })
    }

    /// What holds for every model: our own files, and the list with its sums.
    fn check_own(&self) -> Result<Vec<String>, ImageError> {
        let mut wrong: Vec<String> = OURS
            .iter()
            .filter(|name| !has(&self.files, name))
            .map(|name| format!("`{name}` is missing"))
            .collect();
        let percent = self.fat.percent_full()?;
        if percent > FULL_PERCENT_MAX {
            wrong.push(format!("it is {percent} % full, more than {FULL_PERCENT_MAX} %"));
        }
        let list = self.fat.read(SUM_FILE)?.unwrap_or_default();
        let list = String::from_utf8_lossy(&list);
        let sums = slot::sums(&list);
        for name in self.files.iter().filter(|name| *name != SUM_FILE) {
            match sums.get(name.as_str()) {
                None => wrong.push(format!("`{name}` is not in `{SUM_FILE}`")),
                Some(sum) if self.fat.read(name)?.is_some_and(|content| slot::sum(&content) == **sum) => {}
                Some(_) => wrong.push(format!("`{name}` is not what `{SUM_FILE}` says")),
            }
        }
        wrong.extend(
            sums.keys()
                .filter(|name| !has(&self.files, name))
                .map(|name| format!("`{name}` of `{SUM_FILE}` is missing")),
        );
        Ok(wrong)
    }

    /// What one model's firmware looks for.
    fn check_for(&self, model: Model) -> Result<Vec<String>, ImageError> {
        let Some(text) = self.fat.read("config.txt")? else {
            return Ok(vec!["`config.txt` is missing".to_owned()]);
        };
        let config = Config::read(&String::from_utf8_lossy(&text), model, false);
        let mut wrong: Vec<String> = config
            .unknown_filters
            .iter()
            .map(|filter| format!("`config.txt` has a filter [{filter}] that nothing here understands"))
            .collect();
        if config.value("os_prefix").is_some() {
            wrong.push("`os_prefix` is set: a slot is a partition, not a folder".to_owned());
        }
        wrong.extend(
            wanted(&config, model)
                .into_iter()
                .filter(|names| !names.iter().any(|name| has(&self.files, name)))
                .map(|names| {
                    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                    format!("{} is missing", names.join(" or "))
                }),
        );
        Ok(wrong)
    }
}

/// The files that a model's firmware loads: of each entry, one name must be there.
fn wanted(config: &Config, model: Model) -> Vec<Vec<String>> {
    let one = |name: &str| vec![name.to_owned()];
    let mut wanted = vec![one(config.command_line_file()), one(config.kernel_file(model))];
    wanted.extend(config.initramfs_file().map(one));
    // `gpu_mem=16` takes the cut-down firmware, `start_x=1` the one with the camera (documentation, boot options).
    let variant = match (config.value("gpu_mem"), config.value("start_x")) {
        (Some("16"), _) => "cd",
        (_, Some("1")) => "x",
        _ => "",
    };
    let (family, joint) = match model {
        Model::Pi3 | Model::Zero2W => (Some(""), if variant.is_empty() { "" } else { "_" }),
        Model::Pi4 => (Some("4"), ""),
        // It has the firmware in its EEPROM (documentation, differences on Raspberry Pi 5).
        Model::Pi5 | Model::QemuVirt => (None, ""),
    };
    if let Some(family) = family {
        let named = |key: &str, start: &str, end: &str| {
            let usual = format!("{start}{family}{joint}{variant}.{end}");
            config.value(key).map_or(usual, str::to_owned)
        };
        wanted.push(vec![named("start_file", "start", "elf")]);
        wanted.push(vec![named("fixup_file", "fixup", "dat")]);
    }
    match config.value("device_tree") {
        Some(name) => wanted.push(one(name)),
        None => wanted.extend(device_trees(model).iter().map(|names| {
            // `upstream_kernel=1` prefers mainline's names and takes the others otherwise.
            names.iter().map(|name| format!("{name}.dtb")).collect()
        })),
    }
    let overlays = config.values("dtoverlay").filter_map(|value| value.split([',', ':']).next());
    let overlays = overlays.filter(|name| !name.is_empty());
    wanted.extend(overlays.map(|name| vec![format!("overlays/{name}.dtbo")]));
    wanted
}

/// Device trees of a model's boards: the Raspberry Pi kernel's name, then mainline's where it is another.
fn device_trees(model: Model) -> &'static [&'static [&'static str]] {
    match model {
        Model::Pi3 => {
            &[&["bcm2710-rpi-3-b", "bcm2837-rpi-3-b"], &["bcm2710-rpi-3-b-plus", "bcm2837-rpi-3-b-plus"]]
        }
        Model::Zero2W => &[&["bcm2710-rpi-zero-2-w", "bcm2837-rpi-zero-2-w"]],
        Model::Pi4 => &[&["bcm2711-rpi-4-b"], &["bcm2711-rpi-400"]],
        Model::Pi5 => &[&["bcm2712-rpi-5-b"]],
        Model::QemuVirt => &[],
    }
}

#[cfg(test)]
mod tests;
