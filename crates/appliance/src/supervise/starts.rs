//! Counts the supervisor's own starts since boot: one that ends again and again comes up in safe mode, where its owner can
//! see why.
//!
//! The count stands in a file on tmpfs, so that it outlives the supervisor and not the boot: a machine that was switched
//! off and on starts with everything.

use std::path::Path;

use control::file::{self, FileError};
use platform::time::{BootClock, BootId};
use serde::{Deserialize, Serialize};

/// So many starts within [`WINDOW_S`] are a crash loop. Init starts the supervisor again within a second.
pub const LOOP_STARTS: usize = 4;

/// How long a start counts, seconds: a supervisor that ran for ten minutes had started well.
pub const WINDOW_S: u64 = 600;

/// Starts that are remembered: more tell nothing more.
const KEPT: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
struct Starts {
    boot_id: BootId,
    /// Seconds since boot of each start, the newest last.
    at_s: Vec<u64>,
}

/// Notes this start and says why the box must come up in safe mode, if it must. What cannot be counted is no reason.
#[must_use]
pub fn note(path: &Path, clock: &dyn BootClock) -> Option<String> {
    let (boot_id, now_s) = (clock.boot_id(), clock.boottime_ns() / 1_000_000_000);
    let before = file::read::<Starts>(path).unwrap_or_else(|error| {
        complain(&error);
        None
    });
    let mut at_s =
        before.filter(|before| before.boot_id == boot_id).map(|before| before.at_s).unwrap_or_default();
    at_s.retain(|at_s| now_s.saturating_sub(*at_s) <= WINDOW_S);
    at_s.push(now_s);
    let surplus = at_s.len().saturating_sub(KEPT);
    at_s.drain(..surplus);
    let count = at_s.len();
    if let Err(error) = file::replace(path, &Starts { boot_id, at_s }) {
        complain(&error);
    }
    let minutes = WINDOW_S / 60;
    (count >= LOOP_STARTS).then(|| {
        format!("The supervisor was started {count} times within {minutes} minutes. Restart the box.")
    })
}

/// Forgets the starts: this run ends because it was told to.
pub fn forget(path: &Path) {
    // What is not there is forgotten already.
    let _none = std::fs::remove_file(path).is_err();
}

fn complain(error: &FileError) {
    tracing::warn!(error = error as &dyn std::error::Error, "the starts of the supervisor are not counted");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use platform::sim::SimClock;

    use super::*;

    #[test]
    fn a_supervisor_that_ends_again_and_again_comes_up_in_safe_mode_until_it_runs_well_or_the_box_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("starts.json");
        let clock = SimClock::manual(1_795_401_296_000_000);
        let start = |clock: &SimClock| note(&path, clock).is_some();
        for _ in 1..LOOP_STARTS {
            assert!(!start(&clock));
            clock.advance(Duration::from_secs(20));
        }
        assert!(start(&clock), "the fourth");
        clock.advance(Duration::from_secs(WINDOW_S + 1));
        assert!(!start(&clock), "it had run well");
        for _ in 0..LOOP_STARTS {
            let _counted = start(&clock);
        }
        assert!(start(&clock));
        let now_s = clock.boottime_ns() / 1_000_000_000;
        let before = Starts { boot_id: BootId::from_bytes([9; 16]), at_s: vec![now_s; KEPT] };
        file::replace(&path, &before).unwrap();
        assert!(!start(&clock), "another boot");
        forget(&path);
        assert!(!start(&clock));
        std::fs::write(&path, "{").unwrap();
        assert!(!start(&clock), "a damaged count is none");
    }
}
