//! Whether a disk may be told which blocks are free.
//!
//! NVMe, cards and eMMC say so by their own standards and the kernel believes them. A USB bridge is believed only when
//! its pages say it, and a test on blocks of our own showed that the right blocks, and no others, were cleared:
//! bridges exist that promise it and forget data. Pure: who reads pages and runs the test is `platform-linux`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::AttachedDisk;
use crate::DeviceError;

/// What a bridge says about UNMAP (SBC-4: block limits page B0, logical block provisioning page B2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnmapPages {
    /// It takes UNMAP (B2 byte 5 bit 7).
    pub unmaps: bool,
    /// Unmapped blocks read as zeros (B2 byte 5 bits 4 to 2, value xx1).
    pub reads_zero: bool,
    /// Most blocks in one command (B0 bytes 20 to 23); 0: it takes none.
    pub blocks_max: u32,
}

impl UnmapPages {
    /// Reads both pages. A missing or strange page counts as "no".
    #[must_use]
    pub fn parse(b0: &[u8], b2: &[u8]) -> Self {
        let is_page = |page: &[u8], code: u8| page.get(1) == Some(&code);
        let blocks_max = b0.get(20..24).and_then(|raw| raw.try_into().ok()).map_or(0, u32::from_be_bytes);
        let flags = b2.get(5).copied().unwrap_or(0);
        Self {
            unmaps: is_page(b2, 0xB2) && flags & 0x80 != 0,
            reads_zero: is_page(b2, 0xB2) && flags & 0x04 != 0,
            blocks_max: if is_page(b0, 0xB0) { blocks_max } else { 0 },
        }
    }

    /// Tells whether the bridge promises enough to try.
    #[must_use]
    pub fn promise(&self) -> bool {
        self.unmaps && self.blocks_max > 0
    }
}

/// What the test on own blocks showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScratchResult {
    /// The freed blocks were cleared, their neighbours were not.
    Cleared,
    /// The freed blocks still read as before: nothing happened, or it cannot be seen.
    Unchanged,
    /// Blocks that were in use changed. Never trim this disk.
    Damaged,
    /// The command was refused.
    Refused,
}

/// How a disk stands to TRIM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TrimState {
    /// Not looked at yet.
    #[default]
    Unknown,
    /// It is told weekly which blocks are free.
    On,
    /// It takes no TRIM; nothing is lost but some speed and life.
    NotOffered,
    /// It promises TRIM, and the test did not show it.
    NotProven,
    /// TRIM cleared blocks in use in the test.
    Harmful,
}

impl TrimState {
    /// Gives the words that pages show.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "not looked at yet",
            Self::On => "on, weekly",
            Self::NotOffered => "not offered by the disk",
            Self::NotProven => "off: promised, not proven",
            Self::Harmful => "off: it damages data",
        }
    }
}

/// TRIM on this machine's disks.
pub trait Trimmer: Send + std::fmt::Debug {
    /// Tells whether the kernel sends discards to a disk.
    fn kernel_discards(&self, disk: &AttachedDisk) -> bool;

    /// Reads what a SCSI disk or bridge says about UNMAP: from sysfs, else from itself; `None` when it says nothing.
    fn pages(&self, disk: &AttachedDisk) -> Option<UnmapPages>;

    /// Writes how the kernel frees blocks of a SCSI disk: by `unmap`, or not at all.
    ///
    /// # Errors
    /// When the disk has no such switch, or the kernel refuses.
    fn set_unmap(&self, disk: &AttachedDisk, on: bool) -> Result<(), DeviceError>;

    /// Frees all unused blocks of the file system that a folder lies on; gives the bytes.
    ///
    /// # Errors
    /// When the file system or disk takes no TRIM.
    fn trim(&self, folder: &Path) -> Result<u64, DeviceError>;

    /// Tests TRIM with files in `folder`, which lies on the file system of `node` (a partition).
    ///
    /// # Errors
    /// When the files cannot be made or read back: then nothing is known.
    fn test(&self, folder: &Path, node: &Path) -> Result<ScratchResult, DeviceError>;
}

/// What is known about a disk before TRIM is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimFacts {
    /// It is behind a USB bridge.
    pub over_usb: bool,
    /// The kernel sends discards to it (`queue/discard_max_bytes` is not 0).
    pub kernel_discards: bool,
    /// What the bridge's pages say; `None`: they cannot be read.
    pub pages: Option<UnmapPages>,
    /// What the test showed; `None`: not done.
    pub scratch: Option<ScratchResult>,
}

/// What to do next about TRIM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimStep {
    /// Leave it so.
    Rest(TrimState),
    /// Write `unmap` to the bridge's `provisioning_mode`, then decide anew.
    SwitchOn,
    /// Run the test on own blocks, then decide anew.
    Test,
    /// Write `full` to `provisioning_mode`, so that nobody else discards either; then it stands so.
    SwitchOff(TrimState),
}

/// Decides about TRIM.
#[must_use]
pub fn decide(facts: TrimFacts) -> TrimStep {
    if !facts.over_usb {
        return TrimStep::Rest(if facts.kernel_discards { TrimState::On } else { TrimState::NotOffered });
    }
    let promised = facts.pages.is_some_and(|pages| pages.promise());
    match (promised, facts.kernel_discards, facts.scratch) {
        (false, false, _) => TrimStep::Rest(TrimState::NotOffered),
        // The kernel was talked into it by something else than the pages.
        (false, true, _) => TrimStep::SwitchOff(TrimState::NotOffered),
        (true, false, None) => TrimStep::SwitchOn,
        (true, false, Some(ScratchResult::Damaged)) => TrimStep::Rest(TrimState::Harmful),
        (true, false, Some(_)) => TrimStep::Rest(TrimState::NotProven),
        (true, true, None) => TrimStep::Test,
        (true, true, Some(ScratchResult::Cleared)) => TrimStep::Rest(TrimState::On),
        (true, true, Some(ScratchResult::Damaged)) => TrimStep::SwitchOff(TrimState::Harmful),
        (true, true, Some(ScratchResult::Unchanged | ScratchResult::Refused)) => {
            TrimStep::SwitchOff(TrimState::NotProven)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: UnmapPages = UnmapPages { unmaps: true, reads_zero: true, blocks_max: 0x3F_FFFF };

    #[test]
    fn pages_are_read_and_missing_ones_promise_nothing() {
        let mut b0 = vec![0, 0xB0, 0, 0x3C];
        b0.resize(64, 0);
        b0[20..24].copy_from_slice(&0x3F_FFFF_u32.to_be_bytes());
        let b2 = [0, 0xB2, 0, 4, 0, 0x84, 2, 0];
        assert_eq!(UnmapPages::parse(&b0, &b2), PROMISE);
        assert!(!UnmapPages::parse(&b0, &[]).promise());
        assert!(!UnmapPages::parse(&[], &b2).promise());
        assert!(!UnmapPages::parse(&b2, &b0).promise(), "pages of another code");
        assert!(!UnmapPages::parse(&b0, &[0, 0xB2, 0, 4, 0, 0x7F, 2, 0]).promise());
    }

    #[test]
    fn a_bridge_is_switched_on_tested_and_kept_only_when_proven() {
        let facts =
            |pages, kernel_discards, scratch| TrimFacts { over_usb: true, kernel_discards, pages, scratch };
        let cases = [
            (facts(None, false, None), TrimStep::Rest(TrimState::NotOffered)),
            (facts(Some(UnmapPages::default()), true, None), TrimStep::SwitchOff(TrimState::NotOffered)),
            (facts(Some(PROMISE), false, None), TrimStep::SwitchOn),
            (facts(Some(PROMISE), true, None), TrimStep::Test),
            (facts(Some(PROMISE), true, Some(ScratchResult::Cleared)), TrimStep::Rest(TrimState::On)),
            (
                facts(Some(PROMISE), true, Some(ScratchResult::Unchanged)),
                TrimStep::SwitchOff(TrimState::NotProven),
            ),
            (
                facts(Some(PROMISE), true, Some(ScratchResult::Refused)),
                TrimStep::SwitchOff(TrimState::NotProven),
            ),
            (
                facts(Some(PROMISE), true, Some(ScratchResult::Damaged)),
                TrimStep::SwitchOff(TrimState::Harmful),
            ),
            (facts(Some(PROMISE), false, Some(ScratchResult::Damaged)), TrimStep::Rest(TrimState::Harmful)),
            (
                facts(Some(PROMISE), false, Some(ScratchResult::Unchanged)),
                TrimStep::Rest(TrimState::NotProven),
            ),
        ];
        for (facts, step) in cases {
            assert_eq!(decide(facts), step, "{facts:?}");
        }
    }

    #[test]
    fn a_disk_without_a_bridge_is_believed() {
        let facts = TrimFacts { over_usb: false, kernel_discards: true, pages: None, scratch: None };
        assert_eq!(decide(facts), TrimStep::Rest(TrimState::On));
        let deaf = TrimFacts { kernel_discards: false, ..facts };
        assert_eq!(decide(deaf), TrimStep::Rest(TrimState::NotOffered));
    }
}
