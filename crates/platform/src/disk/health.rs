//! What a disk says about its own health, read from its raw answers.
//!
//! Pure: bytes and sysfs texts in, figures out. A figure that a disk does not give stays `None`; nothing is guessed.
//!
//! Sources: NVM Express base specification 1.4 (SMART / Health log, figure 194), ATA ACS-4 (SMART READ DATA, device
//! statistics log, IDENTIFY DEVICE), JEDEC JESD84-B51 (eMMC EXT_CSD 267 to 269). The meaning of ATA's vendor attributes
//! is in no standard; those used here are the ones that their makers' data sheets and smartmontools' drive database
//! agree on.

use serde::{Deserialize, Serialize};

use super::AttachedDisk;
use crate::DeviceError;

/// Bytes of the NVMe SMART log, of ATA SMART data and thresholds, and of a page of an ATA log.
pub const PAGE_BYTES: usize = 512;

/// Who said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HealthSource {
    /// Nobody: the disk tells nothing, as SD cards and sticks do.
    #[default]
    None,
    /// eMMC registers.
    Emmc,
    /// The NVMe SMART log.
    Nvme,
    /// ATA device statistics: standard figures.
    AtaStatistics,
    /// ATA SMART attributes: the maker's own figures.
    AtaAttributes,
}

impl HealthSource {
    /// Gives the words that pages show after "according to".
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "nobody: it tells nothing",
            Self::Emmc => "its registers",
            Self::Nvme => "its NVMe log",
            Self::AtaStatistics => "its statistics",
            Self::AtaAttributes => "its maker's attributes",
        }
    }
}

/// A disk's health by its own account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Who said it.
    pub source: HealthSource,
    /// Share of the rated life that is used, per cent; may exceed 100. eMMC tells in steps of ten: the upper end.
    pub wear_percent: Option<u8>,
    /// Spare blocks left, per cent (NVMe).
    pub spare_percent: Option<u8>,
    /// Bytes written to it in all its life.
    pub written_bytes: Option<u64>,
    /// Sectors that were replaced by spare ones (ATA 5).
    pub reallocated: Option<u64>,
    /// Sectors that could not be read and wait for their fate (ATA 197).
    pub pending: Option<u64>,
    /// Reads that failed for good (ATA 198 or 187, NVMe media errors).
    pub uncorrectable: Option<u64>,
    /// Transfers damaged between bridge and disk (ATA 199): a cable or connector.
    pub link_errors: Option<u64>,
    /// Its temperature, degrees Celsius.
    pub temperature_c: Option<i16>,
    /// Hours that it has run.
    pub power_on_hours: Option<u64>,
    /// How often the power went without notice.
    pub unsafe_shutdowns: Option<u64>,
    /// What the disk itself calls failing, in an owner's words; empty: nothing.
    pub alarms: Vec<String>,
}

impl Health {
    /// Tells whether the disk itself says that it is failing, or that data on it could not be read.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        let some = |count: Option<u64>| count.is_some_and(|count| count > 0);
        !self.alarms.is_empty() || some(self.pending) || some(self.uncorrectable)
    }
}

/// Reads the health of disks.
pub trait DiskHealth: Send + Sync + std::fmt::Debug {
    /// Asks a disk. One that tells nothing answers with [`HealthSource::None`].
    ///
    /// It may take seconds when a bridge does not know the question: call it on a thread of its own, hourly at most.
    ///
    /// # Errors
    /// When the disk is gone or answers with an error.
    fn health(&self, disk: &AttachedDisk) -> Result<Health, DeviceError>;

    /// Gives the bytes that the kernel wrote to a disk since it was plugged in; at once.
    fn written_bytes(&self, disk: &AttachedDisk) -> Option<u64>;
}

fn le<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn le16(from: &[u8], at: usize) -> Option<u16> {
    le(from, at).map(u16::from_le_bytes)
}

/// The low 64 bits of a 128-bit counter; more means its end.
fn le128(from: &[u8], at: usize) -> Option<u64> {
    le(from, at).map(|raw| u64::try_from(u128::from_le_bytes(raw)).unwrap_or(u64::MAX))
}

/// Reads `life_time` and `pre_eol_info` of an eMMC, as sysfs writes them (`0x01 0x03`, `0x01`).
///
/// A value n means n-1 to n tenths of the life are used; 0x0B that it is exceeded; 0x00 that it is not told.
#[must_use]
pub fn emmc(life_time: &str, pre_eol_info: &str) -> Health {
    let hex = |word: &str| u8::from_str_radix(word.trim().trim_start_matches("0x"), 16).ok();
    let worst = life_time.split_whitespace().filter_map(hex).filter(|value| *value != 0).max();
    let alarms = match hex(pre_eol_info) {
        Some(2) => vec!["four fifths of its spare blocks are used".to_owned()],
        Some(3) => vec!["its spare blocks are nearly used up".to_owned()],
        _ => Vec::new(),
    };
    let told = worst.is_some() || hex(pre_eol_info).is_some_and(|value| value != 0);
    Health {
        source: if told { HealthSource::Emmc } else { HealthSource::None },
        wear_percent: worst.map(|value| value.min(11) * 10),
        alarms,
        ..Health::default()
    }
}

/// Reads the NVMe SMART / Health log; `None` when it is too short or empty.
#[must_use]
pub fn nvme(log: &[u8]) -> Option<Health> {
    /// A data unit is a thousand blocks of 512 bytes.
    const DATA_UNIT_BYTES: u64 = 512_000;
    const KELVIN: i32 = 273;
    /// Bits of the critical warning that mean the medium, not the surroundings; bit 1 is temperature.
    const WARNINGS: &[(u8, &str)] = &[
        (0x01, "its spare blocks are nearly used up"),
        (0x04, "its reliability is degraded"),
        (0x08, "it takes no more writes"),
        (0x10, "its backup power failed"),
    ];
    let log = log.get(..PAGE_BYTES)?;
    let kelvin = le16(log, 1)?;
    if log.iter().all(|byte| *byte == 0) {
        return None;
    }
    let warning = *log.first()?;
    let named = WARNINGS.iter().filter(|(bit, _)| warning & bit != 0);
    Some(Health {
        source: HealthSource::Nvme,
        wear_percent: log.get(5).copied(),
        spare_percent: log.get(3).copied(),
        written_bytes: le128(log, 48).map(|units| units.saturating_mul(DATA_UNIT_BYTES)),
        uncorrectable: le128(log, 160),
        temperature_c: (kelvin != 0).then(|| i16::try_from(i32::from(kelvin) - KELVIN).unwrap_or(i16::MAX)),
        power_on_hours: le128(log, 128),
        unsafe_shutdowns: le128(log, 144),
        alarms: named.map(|(_, words)| (*words).to_owned()).collect(),
        ..Health::default()
    })
}

/// What IDENTIFY DEVICE says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtaIdentity {
    /// Model, trimmed.
    pub model: String,
    /// Serial number, trimmed.
    pub serial: String,
    /// Firmware revision, trimmed.
    pub firmware: String,
    /// True for an SSD (word 217 is 1); `None` when not told.
    pub is_ssd: Option<bool>,
    /// It takes TRIM (word 169 bit 0).
    pub trims: bool,
    /// Trimmed sectors read as zeros, always (word 69 bits 14 and 5).
    pub trimmed_reads_zero: bool,
    /// SMART is there and on (words 82 and 85, bit 0).
    pub smart: bool,
    /// READ LOG EXT is there (word 84 bit 5).
    pub logs: bool,
}

impl AtaIdentity {
    /// Reads the page; `None` when it is none.
    #[must_use]
    pub fn parse(page: &[u8]) -> Option<Self> {
        let page = page.get(..PAGE_BYTES)?;
        let word = |number: usize| le16(page, number * 2).unwrap_or(0);
        // Letters are stored two by two, the second first.
        let text = |first: usize, count: usize| {
            let raw =
                (first..first + count).flat_map(|number| word(number).to_be_bytes()).collect::<Vec<_>>();
            String::from_utf8_lossy(&raw).trim_matches(['\0', ' ']).to_owned()
        };
        let model = text(27, 20);
        // Word 0 bit 15: not an ATA device.
        (word(0) & 0x8000 == 0 && !model.is_empty()).then(|| Self {
            model,
            serial: text(10, 10),
            firmware: text(23, 4),
            is_ssd: match word(217) {
                1 => Some(true),
                0x0401..=0xFFFE => Some(false),
                _ => None,
            },
            trims: word(169) & 1 != 0,
            trimmed_reads_zero: word(69) & 0x4020 == 0x4020,
            smart: word(82) & 1 != 0 && word(85) & 1 != 0,
            // Words 82 to 84 mean something when bits 15 and 14 of the last are 0 and 1.
            logs: word(84) & 0xC020 == 0x4020,
        })
    }
}

/// One SMART attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attribute {
    id: u8,
    /// The maker's scale, mostly 100 (new) down to 0.
    value: u8,
    /// 48 bits of the maker's own.
    raw: u64,
    /// The value at which the disk calls itself failing; 0: never.
    threshold: u8,
    /// Bit 0 of its flags: failing means losing data soon, not old age.
    is_prefailure: bool,
}

fn attributes(data: &[u8], thresholds: &[u8]) -> Vec<Attribute> {
    const FIRST: usize = 2;
    const BYTES: usize = 12;
    const COUNT: usize = 30;
    let entries = |page: &[u8]| -> Vec<[u8; BYTES]> {
        (0..COUNT).filter_map(|number| le(page, FIRST + number * BYTES)).collect()
    };
    let limits = entries(thresholds);
    entries(data)
        .into_iter()
        .filter(|entry| entry[0] != 0)
        .map(|[id, flags, _, value, _, r0, r1, r2, r3, r4, r5, _]| Attribute {
            id,
            value,
            raw: u64::from_le_bytes([r0, r1, r2, r3, r4, r5, 0, 0]),
            threshold: limits.iter().find(|limit| limit[0] == id).map_or(0, |limit| limit[1]),
            is_prefailure: flags & 1 != 0,
        })
        .collect()
}

/// Whether the bytes of a SMART page sum to zero, as ACS-4 wants.
fn checksum_holds(page: &[u8]) -> bool {
    page.len() >= PAGE_BYTES
        && page.iter().take(PAGE_BYTES).fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// Vendor attributes whose scale falls from 100 as life is used: remaining lifetime (169), wear levelling (177,
/// Samsung), lifetime left (202, Micron and Crucial), SSD life left (231, Phison, Kingston), media wearout (233, Intel).
const WEAR_ATTRIBUTES: &[u8] = &[169, 177, 202, 231, 233];

/// Reads SMART data with its thresholds (an empty slice when there are none); `None` when the checksum is wrong or no
/// attribute is in it.
#[must_use]
pub fn ata_attributes(data: &[u8], thresholds: &[u8], identity: Option<&AtaIdentity>) -> Option<Health> {
    /// Samsung (241) and Micron (246) count sectors of this size; others count other things there.
    const SECTOR_BYTES: u64 = 512;
    if !checksum_holds(data) {
        return None;
    }
    let found = attributes(data, if checksum_holds(thresholds) { thresholds } else { &[] });
    if found.is_empty() {
        return None;
    }
    let raw = |id: u8| found.iter().find(|attribute| attribute.id == id).map(|attribute| attribute.raw);
    let low32 = |id: u8| raw(id).map(|raw| raw & u64::from(u32::MAX));
    let used = |attribute: &Attribute| match attribute.value {
        1..=100 if WEAR_ATTRIBUTES.contains(&attribute.id) => Some(100 - attribute.value),
        _ => None,
    };
    let rotates = identity.and_then(|identity| identity.is_ssd) == Some(false);
    let samsung = identity.is_some_and(|identity| identity.model.to_ascii_uppercase().starts_with("SAMSUNG"));
    let written = raw(246).or_else(|| raw(241).filter(|_| samsung));
    // The lowest byte of 194 (or 190) is the temperature now; those above are the maker's.
    let temperature = raw(194).or_else(|| raw(190)).and_then(|raw| i16::try_from(raw & 0xFF).ok());
    Some(Health {
        source: HealthSource::AtaAttributes,
        wear_percent: if rotates { None } else { found.iter().filter_map(used).max() },
        written_bytes: written.map(|sectors| sectors.saturating_mul(SECTOR_BYTES)),
        reallocated: low32(5),
        pending: low32(197),
        uncorrectable: low32(198).max(low32(187)),
        link_errors: low32(199),
        temperature_c: temperature.filter(|celsius| (1..=120).contains(celsius)),
        power_on_hours: low32(9),
        unsafe_shutdowns: low32(174),
        alarms: found
            .iter()
            .filter(|attribute| attribute.is_prefailure && attribute.value != 0)
            .filter(|attribute| attribute.threshold != 0 && attribute.value <= attribute.threshold)
            .map(|attribute| format!("it expects to fail soon (SMART {})", attribute.id))
            .collect(),
        ..Health::default()
    })
}

/// Tells from the log directory (log 0) whether a log has pages: its word of the log's number counts them.
#[must_use]
pub fn log_has_pages(directory: &[u8], log: u8) -> bool {
    le16(directory, usize::from(log) * 2).is_some_and(|pages| pages > 0)
}

/// Adds the standard figures of the device statistics log to what the attributes said; where both speak, the
/// standard wins. `general` is page 1, `ssd` page 7 of log 4.
pub fn add_ata_statistics(health: &mut Health, general: Option<&[u8]>, ssd: Option<&[u8]>) {
    const SECTOR_BYTES: u64 = 512;
    /// A statistic that is supported (bit 63) and valid (bit 62); its value is in the bits below.
    fn statistic(page: &[u8], at: usize) -> Option<u64> {
        let raw = u64::from_le_bytes(le(page, at)?);
        (raw >> 62 == 3).then_some(raw & 0x0000_FFFF_FFFF_FFFF)
    }
    /// A page begins with its revision (1) and, in byte 2, its own number.
    fn page(raw: Option<&[u8]>, number: u8) -> Option<&[u8]> {
        raw.filter(|raw| raw.len() >= PAGE_BYTES && raw.get(2) == Some(&number) && le16(raw, 0) == Some(1))
    }
    if let Some(general) = page(general, 1) {
        health.power_on_hours =
            statistic(general, 16).map(|hours| hours & u64::from(u32::MAX)).or(health.power_on_hours);
        let written = statistic(general, 24).map(|sectors| sectors.saturating_mul(SECTOR_BYTES));
        health.written_bytes = written.or(health.written_bytes);
        health.source = HealthSource::AtaStatistics;
    }
    if let Some(used) = page(ssd, 7).and_then(|ssd| statistic(ssd, 8)) {
        health.wear_percent = u8::try_from(used & 0xFF).ok();
        health.source = HealthSource::AtaStatistics;
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
