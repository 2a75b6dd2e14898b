//! How fast a disk makes small writes durable: what a post waits for.
//!
//! Pure judgement and the trait that measures. A card that is sold as fast may be slow at this, and no label tells.

use serde::{Deserialize, Serialize};

use crate::DeviceError;

/// Slowest median of a synced 4 KiB write that is called fine, microseconds.
///
/// 20 ms: a post is one such write and stays far below what a person notices; a good card takes 2 to 10 ms.
const FINE_US_MAX: u32 = 20_000;

/// Slowest median that is called slow and not unfit, microseconds: at 100 ms ten posts a second are the end.
const SLOW_US_MAX: u32 = 100_000;

/// Longest single write that is not held against a disk, microseconds. Cards stop for housekeeping; two seconds are
/// long enough for clients to give up.
const PAUSE_US_MAX: u32 = 2_000_000;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSpeed {
    /// Writes of 4 KiB, each made durable before the next.
    pub writes: u32,
    /// The median, microseconds.
    pub median_us: u32,
    /// The slowest, microseconds.
    pub worst_us: u32,
}

/// How a disk's speed is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpeedVerdict {
    /// Nobody will notice it.
    Fine,
    /// Posting works and is felt.
    Slow,
    /// Clients will give up at times.
    Unfit,
}

impl WriteSpeed {
    /// Sums up single writes; `None` when there were none.
    #[must_use]
    pub fn of(mut each_us: Vec<u32>) -> Option<Self> {
        each_us.sort_unstable();
        Some(Self {
            writes: u32::try_from(each_us.len()).unwrap_or(u32::MAX),
            median_us: *each_us.get(each_us.len() / 2)?,
            worst_us: *each_us.last()?,
        })
    }

    /// Judges it.
    #[must_use]
    pub fn verdict(&self) -> SpeedVerdict {
        match (self.median_us, self.worst_us) {
            (..=FINE_US_MAX, ..=PAUSE_US_MAX) => SpeedVerdict::Fine,
            (..=SLOW_US_MAX, ..=PAUSE_US_MAX) => SpeedVerdict::Slow,
            _ => SpeedVerdict::Unfit,
        }
    }

    /// Gives the writes of a second at the median.
    #[must_use]
    pub fn per_second(&self) -> u32 {
        1_000_000 / self.median_us.max(1)
    }
}

/// Measures how fast small writes become durable.
pub trait SpeedTest: Send + Sync + std::fmt::Debug {
    /// Writes to a file of its own in `folder` and removes it. Takes up to 10 s and writes at most 6 MiB.
    ///
    /// # Errors
    /// When the folder cannot be written.
    fn measure(&self, folder: &std::path::Path) -> Result<WriteSpeed, DeviceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_judged_by_the_median_and_the_worst_pause() {
        let speed = |median_us, worst_us| WriteSpeed { writes: 100, median_us, worst_us }.verdict();
        assert_eq!(speed(4_000, 300_000), SpeedVerdict::Fine);
        assert_eq!(speed(20_001, 300_000), SpeedVerdict::Slow);
        assert_eq!(speed(100_001, 300_000), SpeedVerdict::Unfit);
        assert_eq!(speed(4_000, 2_000_001), SpeedVerdict::Unfit);
    }

    #[test]
    fn single_writes_are_summed_up() {
        let speed = WriteSpeed::of(vec![9, 1, 5, 7, 3]).unwrap();
        assert_eq!((speed.writes, speed.median_us, speed.worst_us), (5, 5, 9));
        assert_eq!(speed.per_second(), 200_000);
        assert_eq!(WriteSpeed::of(Vec::new()), None);
    }
}
