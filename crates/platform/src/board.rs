//! `board.toml`: what a model has and where it is wired, as data.
//!
//! One file per model lies in `board/NAME/board.toml`; all of them are in the image, and the one whose `compatible` the
//! device tree names is taken. Parsing only: who opens the devices is `platform-linux`, who chooses is `main`.

use serde::Deserialize;

/// Highest GPIO line of the 40-pin header.
pub const HEADER_LINE_MAX: u32 = 27;

/// Usable 7-bit I2C addresses (UM10204 section 3.1.12: 0x00-0x07 and 0x78-0x7F are reserved).
pub const I2C_ADDRESSES: std::ops::RangeInclusive<u8> = 0x08..=0x77;

/// A model of computer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The model as its owner knows it.
    pub name: String,
    /// Strings of `/proc/device-tree/compatible` that mean this model.
    pub compatible: Vec<String>,
    /// Who drives button and light.
    pub gpio: Gpio,
    /// The status display; absent: none is looked for.
    pub screen: Option<ScreenWiring>,
    /// The clock chip; absent: none is looked for.
    pub rtc: Option<RtcWiring>,
    /// The button; absent: none.
    pub button: Option<LineWiring>,
    /// The light; absent: none.
    pub led: Option<LineWiring>,
    /// Sizes of memory that processes may take.
    pub memory: Memory,
    /// Sizes on the boot medium.
    pub partitions: Partitions,
}

/// Who drives GPIO lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gpio {
    /// rppal, on models that it knows.
    Rppal,
    /// The kernel's GPIO character device, anywhere.
    Gpiocdev,
}

/// A 128x64 display on I2C.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreenWiring {
    /// Its controller.
    pub driver: ScreenDriver,
    /// The bus, such as `/dev/i2c-1`.
    pub bus: String,
    /// 7-bit addresses to try, in order.
    pub addresses: Vec<u8>,
    /// True when the display is mounted upside down.
    #[serde(default)]
    pub upside_down: bool,
}

/// Display controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScreenDriver {
    /// Solomon SSD1306.
    Ssd1306,
    /// Sino Wealth SH1106: 132 columns of RAM, of which the glass shows 2 to 129.
    Sh1106,
}

/// A clock chip.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtcWiring {
    /// The chip.
    pub chip: RtcChip,
    /// Names in `/sys/class/rtc/rtc*/name` that mean this chip, the first match wins. A number means nothing: it is
    /// the order of probing.
    pub names: Vec<String>,
    /// The bus, for a chip whose status register we read ourselves.
    pub bus: Option<String>,
    /// 7-bit address on it.
    pub address: Option<u8>,
}

/// Clock chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RtcChip {
    /// Maxim DS3231: 2 ppm, and a status register that the kernel's driver hides.
    Ds3231,
    /// NXP PCF8523: a crystal of 20 ppm.
    Pcf8523,
    /// The Pi 5's own, in its power chip.
    RpiRtc,
    /// Any other that the kernel drives.
    Other,
}

/// A GPIO line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineWiring {
    /// Label of the GPIO chip (`gpiodetect` shows it).
    pub chip: String,
    /// Line on it; on a Pi the BCM number of the pin.
    pub line: u32,
    /// True when the line is low while the button is down or the light is on.
    pub active_low: bool,
}

/// Memory limits of the processes, MiB; they become cgroup limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The PDS.
    pub pds_mib: u32,
    /// The pages.
    pub panel_mib: u32,
    /// The time guard.
    pub timeguard_mib: u32,
}

impl Default for Memory {
    /// The limits on a machine that is no known board: those of the smallest that is.
    fn default() -> Self {
        Self { pds_mib: 192, panel_mib: 48, timeguard_mib: 24 }
    }
}

/// Sizes of the boot medium's partitions, MiB. The data partition takes the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partitions {
    /// The owner's settings and what boots first.
    pub boot_mib: u32,
    /// Each of the two slots.
    pub slot_mib: u32,
    /// Alignment of every partition.
    pub align_mib: u32,
}

/// Why a `board.toml` is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// It is not TOML of the expected form.
    #[error("board.toml does not read")]
    Form(#[source] toml::de::Error),
    /// A value cannot be.
    #[error("board.toml: {0}")]
    Value(String),
}

impl Board {
    /// Reads and checks the text of one `board.toml`.
    ///
    /// # Errors
    /// When it does not parse, names an unknown key, or holds a value that no board can have.
    pub fn parse(text: &str) -> Result<Self, BoardError> {
        let board: Self = toml::from_str(text).map_err(BoardError::Form)?;
        board.check()?;
        Ok(board)
    }

    /// Tells whether the device tree's `compatible` (texts, each ended by a zero byte) means this model.
    #[must_use]
    pub fn is_for(&self, compatible: &[u8]) -> bool {
        compatible
            .split(|byte| *byte == 0)
            .any(|text| self.compatible.iter().any(|ours| ours.as_bytes() == text))
    }

    fn check(&self) -> Result<(), BoardError> {
        let wrong = |text: String| Err(BoardError::Value(text));
        if self.compatible.is_empty() {
            return wrong("`compatible` names no device tree".to_owned());
        }
        let screen = self.screen.iter().flat_map(|screen| screen.addresses.iter().map(|a| ("screen", *a)));
        let rtc = self.rtc.iter().filter_map(|rtc| rtc.address.map(|a| ("rtc", a)));
        for (what, address) in screen.chain(rtc) {
            if !I2C_ADDRESSES.contains(&address) {
                return wrong(format!("{what}: I2C address {address:#04x} is reserved"));
            }
        }
        if self.screen.as_ref().is_some_and(|screen| screen.addresses.is_empty()) {
            return wrong("screen: `addresses` is empty".to_owned());
        }
        for (what, line) in [("button", &self.button), ("led", &self.led)] {
            let Some(line) = line else { continue };
            if self.gpio == Gpio::Rppal && line.line > HEADER_LINE_MAX {
                return wrong(format!("{what}: the header has no line {}", line.line));
            }
        }
        if let (Some(button), Some(led)) = (&self.button, &self.led)
            && button.chip == led.chip
            && button.line == led.line
        {
            return wrong(format!("button and led are both on line {}", led.line));
        }
        if self.partitions.align_mib == 0
            || !self.partitions.boot_mib.is_multiple_of(self.partitions.align_mib)
        {
            return wrong("partitions: `boot_mib` is not a multiple of `align_mib`".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
