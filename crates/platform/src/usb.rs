//! USB bridges that fail at UAS, as data, and what to write for them.
//!
//! UAS hands a bridge several commands at once. Some bridges lose them: writes hang for half a minute, then the disk
//! is reset or its file system goes read-only. Told to use the older bulk-only transport they work. The list is
//! `board/uas-quirks.toml`; bridges that are not on it are caught by their own aborts ([`AbortWatch`]).

use serde::{Deserialize, Serialize};

use crate::DeviceError;
use crate::disk::{AttachedDisk, UsbDriver};

/// Longest text that the kernel's list of quirks takes, bytes: usb-storage keeps 128 with the final NUL.
pub const QUIRKS_BYTES_MAX: usize = 127;

/// The letter that keeps usb-storage from handing a bridge to UAS (kernel-parameters, `usb-storage.quirks`).
const IGNORE_UAS: &str = "u";

/// A vendor and product number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UsbId {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
}

/// Says that a text is no pair of USB numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no USB id: write it as 152d:0578")]
pub struct UsbIdError(String);

impl UsbId {
    /// Reads `152d:0578`.
    ///
    /// # Errors
    /// [`UsbIdError`] when it is anything else.
    pub fn parse(text: &str) -> Result<Self, UsbIdError> {
        let hex = |part: &str| (part.len() == 4).then(|| u16::from_str_radix(part, 16).ok()).flatten();
        let parts = text.split_once(':').and_then(|(vendor, product)| Some((hex(vendor)?, hex(product)?)));
        let (vendor, product) = parts.ok_or_else(|| UsbIdError(text.to_owned()))?;
        Ok(Self { vendor, product })
    }
}

impl std::fmt::Display for UsbId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:04x}:{:04x}", self.vendor, self.product)
    }
}

impl TryFrom<String> for UsbId {
    type Error = UsbIdError;
    fn try_from(text: String) -> Result<Self, UsbIdError> {
        Self::parse(&text)
    }
}

impl From<UsbId> for String {
    fn from(id: UsbId) -> Self {
        id.to_string()
    }
}

/// One bridge on the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quirk {
    /// Which bridge.
    pub id: UsbId,
    /// What is known about it, in words.
    pub about: String,
    /// Who found it.
    pub source: String,
}

/// The list of bridges that must not use UAS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UasQuirks {
    /// The bridges.
    #[serde(rename = "quirk")]
    quirks: Vec<Quirk>,
}

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UasQuirksError {
    /// It is no TOML of this shape.
    #[error("the list of USB quirks is not readable")]
    Parse(#[source] Box<toml::de::Error>),
    /// A bridge is on it twice.
    #[error("{0} is on the list of USB quirks twice")]
    Twice(UsbId),
}

impl UasQuirks {
    /// Reads the list.
    ///
    /// # Errors
    /// [`UasQuirksError`].
    pub fn parse(text: &str) -> Result<Self, UasQuirksError> {
        let list: Self = toml::from_str(text).map_err(|error| UasQuirksError::Parse(Box::new(error)))?;
        for (at, quirk) in list.quirks.iter().enumerate() {
            if list.quirks.iter().take(at).any(|before| before.id == quirk.id) {
                return Err(UasQuirksError::Twice(quirk.id));
            }
        }
        Ok(list)
    }

    /// Tells what is known about a bridge.
    #[must_use]
    pub fn about(&self, id: UsbId) -> Option<&Quirk> {
        self.quirks.iter().find(|quirk| quirk.id == id)
    }
}

/// What to do so that bridges stop using UAS, without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuirkPlan {
    /// What to write to `/sys/module/usb_storage/parameters/quirks`; `None`: it holds what is needed.
    pub parameter: Option<String>,
    /// The ports to unbind and bind again, after the parameter is written.
    pub rebind: Vec<String>,
    /// Disks that would have to be bound again and are in use: they change at the next start.
    pub later: Vec<String>,
}

/// Plans for the disks that are plugged in. `listed` says which bridges must not use UAS (the list, and those that
/// were caught); `parameter` is what the kernel's parameter holds now.
///
/// Only bridges that are plugged in are written: the kernel keeps 127 bytes, nine bridges, and the list is longer.
#[must_use]
pub fn plan_quirks(disks: &[AttachedDisk], listed: impl Fn(UsbId) -> bool, parameter: &str) -> QuirkPlan {
    let mut entries: Vec<String> =
        parameter.trim().split(',').filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    let before = entries.clone();
    let mut plan = QuirkPlan::default();
    for disk in disks {
        let Some(usb) = &disk.usb else { continue };
        let id = UsbId { vendor: usb.vendor, product: usb.product };
        if !listed(id) {
            continue;
        }
        add_entry(&mut entries, id);
        if usb.driver == UsbDriver::Uas {
            let (list, name) =
                if disk.is_in_use() { (&mut plan.later, &disk.name) } else { (&mut plan.rebind, &usb.port) };
            if !list.contains(name) {
                list.push(name.clone());
            }
        }
    }
    // What others wrote gives way last: the oldest entry that is not ours now.
    while entries.join(",").len() > QUIRKS_BYTES_MAX && entries.len() > 1 {
        entries.remove(0);
    }
    plan.parameter = (entries != before).then(|| entries.join(","));
    plan
}

/// Adds `u` to a bridge's entry, keeping letters that somebody else set.
fn add_entry(entries: &mut Vec<String>, id: UsbId) {
    let own = id.to_string();
    let found = entries.iter().position(|entry| entry.to_ascii_lowercase().starts_with(&own));
    let letters = match found.map(|at| entries.remove(at)) {
        Some(entry) => entry.rsplit(':').next().unwrap_or_default().to_owned(),
        None => String::new(),
    };
    let letters = if letters.contains(IGNORE_UAS) { letters } else { letters + IGNORE_UAS };
    entries.push(format!("{own}:{letters}"));
}

/// The kernel's switches for USB bridges.
pub trait UsbSwitch: Send + std::fmt::Debug {
    /// Reads the kernel's list; empty while the driver is not loaded.
    fn quirks(&self) -> String;

    /// Carries out a plan: the list first, then each port. A port that cannot be unbound is not bound again.
    ///
    /// # Errors
    /// The first step that failed; the rest of the plan is tried all the same.
    fn apply(&self, plan: &QuirkPlan) -> Result<(), DeviceError>;
}

/// Aborts of one disk, to tell a bridge that fails at UAS from a single hiccup.
#[derive(Clone, Debug, Default)]
pub struct AbortWatch {
    /// When each was seen, microseconds since boot, the newest last.
    seen_us: Vec<u64>,
}

impl AbortWatch {
    /// Rounds of aborts within [`Self::WINDOW_US`] that show a failing bridge. One is a hiccup (a sagging supply, a
    /// moved cable); three are not. A bridge that fails does so many times an hour.
    const ROUNDS: usize = 3;
    /// Ten minutes.
    const WINDOW_US: u64 = 600_000_000;
    /// The kernel aborts all commands that are under way at once: what lies within this span is one round. The next
    /// round needs a command to time out first, 30 s.
    const ROUND_US: u64 = 5_000_000;

    /// Notes an abort. Returns true when the bridge is found to fail at UAS.
    pub fn note(&mut self, at_us: u64) -> bool {
        if self.seen_us.last().is_some_and(|last| at_us.saturating_sub(*last) < Self::ROUND_US) {
            return false;
        }
        self.seen_us.retain(|seen| at_us.saturating_sub(*seen) <= Self::WINDOW_US);
        self.seen_us.push(at_us);
        self.seen_us.len() >= Self::ROUNDS
    }
}

#[cfg(test)]
#[path = "usb_tests.rs"]
mod tests;
