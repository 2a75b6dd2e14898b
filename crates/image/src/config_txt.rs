//! Reads `config.txt` and `autoboot.txt` as the firmware of one model does (Raspberry Pi documentation, config.txt and its
//! conditional filters).
//!
//! Pure. A filter that it does not know does not pass, and is told, so that a check can complain.

/// A model as the firmware tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Raspberry Pi 3 B and B+.
    Pi3,
    /// Raspberry Pi Zero 2 W.
    Zero2W,
    /// Raspberry Pi 4 B, 400 and Compute Module 4.
    Pi4,
    /// Raspberry Pi 5.
    Pi5,
    /// QEMU's `virt`, which a stand-in starts as a Pi 5 is started: without `start.elf`.
    QemuVirt,
}

impl Model {
    /// The models that one image is for, by the name of its board.
    #[must_use]
    pub fn of_board(board: &str) -> &'static [Self] {
        match board {
            "rpi" => &[Self::Pi3, Self::Zero2W, Self::Pi4, Self::Pi5],
            "rpi-mainline" => &[Self::Pi3, Self::Pi4],
            "qemu-virt" => &[Self::QemuVirt],
            _ => &[],
        }
    }

    /// The filters that this model passes (conditional filters, table of models). Zero 2 W passes three.
    fn filters(self) -> &'static [&'static str] {
        match self {
            Self::Pi3 => &["pi3"],
            Self::Zero2W => &["pi02", "pi0w", "pi0"],
            Self::Pi4 => &["pi4"],
            Self::Pi5 => &["pi5"],
            Self::QemuVirt => &[],
        }
    }
}

/// Filters of models, passed or not.
const MODEL_FILTERS: &[&str] = &[
    "pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+", "pi4", "pi400", "cm4", "cm4s", "pi5", "pi500", "cm5",
];

/// What applies to a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    lines: Vec<(String, String)>,
    /// Filters that were not understood.
    pub(crate) unknown_filters: Vec<String>,
}

impl Config {
    /// Reads the text for one model, with the `tryboot` flag set or not.
    pub(crate) fn read(text: &str, model: Model, tryboot: bool) -> Self {
        let mut config = Self::default();
        let (mut of_model, mut of_flag, mut of_none) = (true, true, true);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(filter) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                match filter {
                    "all" => (of_model, of_flag, of_none) = (true, true, true),
                    "none" => of_none = false,
                    "tryboot" => of_flag = tryboot,
                    // A filter of the same kind takes the place of the one before.
                    _ if MODEL_FILTERS.contains(&filter) => of_model = model.filters().contains(&filter),
                    _ => {
                        of_none = false;
                        config.unknown_filters.push(filter.to_owned());
                    }
                }
            } else if of_model && of_flag && of_none {
                // `initramfs NAME ADDRESS` is the one setting without an equals sign.
                let (key, value) =
                    line.split_once('=').or_else(|| line.split_once(' ')).unwrap_or((line, ""));
                config.lines.push((key.trim().to_owned(), value.trim().to_owned()));
            }
        }
        config
    }

    /// The value of a setting: the last one counts.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.values(key).next_back()
    }

    /// All values of a setting that may stand several times.
    pub(crate) fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().filter(move |(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// The command line's file.
    pub(crate) fn command_line_file(&self) -> &str {
        self.value("cmdline").unwrap_or("cmdline.txt")
    }

    /// The kernel's file. `arm_64bit` makes it `kernel8.img` unless it is named; without it these models would start a
    /// 32-bit kernel.
    pub(crate) fn kernel_file(&self, model: Model) -> &str {
        let default = match (self.value("arm_64bit"), model) {
            (_, Model::Pi5) => "kernel_2712.img",
            (Some("1"), _) => "kernel8.img",
            (_, Model::Pi3 | Model::Zero2W) => "kernel7.img",
            (_, Model::Pi4 | Model::QemuVirt) => "kernel7l.img",
        };
        self.value("kernel").unwrap_or(default)
    }

    /// The initramfs' file.
    pub(crate) fn initramfs_file(&self) -> Option<&str> {
        self.value("initramfs").and_then(|value| value.split_whitespace().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# all\nkernel=a.img\n[pi4]\nkernel=b.img\n[tryboot]\nkernel=c.img\n[all]\narm_64bit=1\n\
                        [none]\nkernel=d.img\n[all]\ninitramfs i.zst followkernel\ndtoverlay=x\ndtoverlay=y,z=1\n";

    #[test]
    fn filters_choose_by_model_and_flag() {
        let kernel = |model, tryboot| Config::read(TEXT, model, tryboot).kernel_file(model).to_owned();
        assert_eq!(kernel(Model::Pi3, false), "a.img");
        assert_eq!(kernel(Model::Pi3, true), "a.img", "[tryboot] within [pi4]");
        assert_eq!(kernel(Model::Pi4, false), "b.img");
        assert_eq!(kernel(Model::Pi4, true), "c.img");
    }

    #[test]
    fn settings_may_stand_several_times_and_without_equals_sign() {
        let config = Config::read(TEXT, Model::Pi5, false);
        assert_eq!(config.initramfs_file(), Some("i.zst"));
        assert!(config.values("dtoverlay").eq(["x", "y,z=1"]));
        assert_eq!(config.command_line_file(), "cmdline.txt");
        assert_eq!(Config::read("", Model::Pi5, false).kernel_file(Model::Pi5), "kernel_2712.img");
        assert_eq!(Config::read("arm_64bit=1", Model::Pi3, false).kernel_file(Model::Pi3), "kernel8.img");
    }

    #[test]
    fn a_zero_2_w_passes_the_filters_of_its_family() {
        let passes = |text: &str| Config::read(text, Model::Zero2W, false).value("x").is_some();
        assert!(passes("[pi02]\nx=1") && passes("[pi0]\nx=1") && passes("[pi0w]\nx=1"));
        assert!(!passes("[pi3]\nx=1"));
    }

    #[test]
    fn unknown_filters_do_not_pass_and_are_told() {
        let config = Config::read("[gpio4=1]\nx=1\n[all]\ny=1", Model::Pi3, false);
        assert_eq!((config.value("x"), config.value("y")), (None, Some("1")));
        assert_eq!(config.unknown_filters, ["gpio4=1"]);
    }
}
