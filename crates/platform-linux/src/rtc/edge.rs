//! Reading and setting a clock that counts whole seconds, to a few milliseconds: on the edge between two seconds.
//!
//! The chip and the time come in as traits, so that every path is tested without hardware.

use std::io;

use platform::Battery;

/// Nanoseconds between looks for the edge: 5 ms makes a reading good to about that, at 200 short transfers a second.
const LOOK_NS: u64 = 5_000_000;

/// Nanoseconds without a new second after which the chip stands still; a running one takes one second.
const STANDING_NS: u64 = 1_600_000_000;

/// A reading that is worse than this is taken anew, nanoseconds: the process had to wait for a processor.
const GOOD_NS: u64 = 12_000_000;

/// Readings that are taken in search of a good one; the best of them counts.
const READINGS_MAX: u32 = 4;

/// A chip that is off by less after a setting was set well, nanoseconds. Beyond the reading's own uncertainty.
const SET_WELL_NS: u64 = 20_000_000;

/// Settings that are tried: one to set, one to correct its phase, one for a chip that keeps its own phase, and one more
/// on a machine that is too busy.
const SETTINGS_MAX: u32 = 4;

/// Shortest time from a write to the next second that is believed of a chip, nanoseconds.
const SOONEST_TICK_NS: i64 = 10_000_000;

/// How late a write may be, nanoseconds; later ones wait for the next second.
const LATE_NS: u64 = 5_000_000;

/// Time to get ready for a write, nanoseconds.
const READY_NS: i64 = 20_000_000;

/// Seconds in which a write may be late before setting fails.
const WRITES_MAX: u32 = 8;

/// How far a chip with a phase of its own may be off, nanoseconds: half a second and a reading.
const OWN_PHASE_NS: u64 = 530_000_000;

const SECOND_NS: i64 = 1_000_000_000;

/// What a chip shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Seconds since 1970.
    Second(i64),
    /// It says that it has stopped, and no time.
    Stopped,
}

/// A clock that counts whole seconds.
pub(crate) trait Chip: Send + std::fmt::Debug {
    /// Reads what it shows.
    fn shown(&mut self) -> io::Result<Shown>;
    /// Tells whether it says that its oscillator stopped since it was set.
    fn is_stopped(&mut self) -> io::Result<bool>;
    /// Makes it show this second now.
    fn write(&mut self, unix_s: i64) -> io::Result<()>;
    /// Does what is due after a setting, such as clearing the stop flag.
    fn was_written(&mut self) -> io::Result<()>;
    /// Gives the nanoseconds from a write to its next second, as its data sheet says.
    fn first_tick_ns(&self) -> i64;
    /// Tells how its battery is.
    fn battery(&mut self) -> Battery;
}

/// Time to wait by.
pub(crate) trait Pace {
    /// Gives CLOCK_BOOTTIME, nanoseconds.
    fn boottime_ns(&self) -> u64;
    /// Waits about so many nanoseconds.
    fn wait(&mut self, span_ns: u64);
}

/// A second's beginning by the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Seconds since 1970 by the chip.
    pub(crate) unix_s: i64,
    /// CLOCK_BOOTTIME at which they began, nanoseconds.
    pub(crate) boottime_ns: u64,
    /// How far `boottime_ns` may be off.
    pub(crate) uncertainty_ns: u64,
}

/// What came of looking for an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It runs.
    Running(Edge),
    /// It stopped: by its own word, or because no second passes.
    Stopped {
        /// What it shows, when it shows a time.
        unix_s: Option<i64>,
    },
}

/// One look at the chip.
#[derive(Clone, Copy, Debug)]
struct Look {
    before_ns: u64,
    after_ns: u64,
    unix_s: i64,
}

/// Reads the chip on an edge; takes about a second.
pub(crate) fn read(chip: &mut dyn Chip, pace: &mut dyn Pace) -> io::Result<Reading> {
    if chip.is_stopped()? {
        let Shown::Second(unix_s) = chip.shown()? else { return Ok(Reading::Stopped { unix_s: None }) };
        return Ok(Reading::Stopped { unix_s: Some(unix_s) });
    }
    let mut best: Option<Edge> = None;
    for _ in 0..READINGS_MAX {
        match find_edge(chip, pace)? {
            None => {}
            Some(Reading::Running(edge)) => {
                best = Some(best.filter(|best| best.uncertainty_ns <= edge.uncertainty_ns).unwrap_or(edge));
                if edge.uncertainty_ns <= GOOD_NS {
                    break;
                }
            }
            Some(stopped @ Reading::Stopped { .. }) => return Ok(stopped),
        }
    }
    best.map(Reading::Running).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the chip jumps while it is read: something else sets it")
    })
}

/// Looks until a second begins; `None` when the time jumped instead.
fn find_edge(chip: &mut dyn Chip, pace: &mut dyn Pace) -> io::Result<Option<Reading>> {
    let Some(mut old) = look(chip, pace)? else { return Ok(Some(Reading::Stopped { unix_s: None })) };
    let began_ns = old.before_ns;
    loop {
        pace.wait(LOOK_NS);
        let Some(new) = look(chip, pace)? else { return Ok(Some(Reading::Stopped { unix_s: None })) };
        if new.unix_s == old.unix_s {
            if new.after_ns.saturating_sub(began_ns) > STANDING_NS {
                return Ok(Some(Reading::Stopped { unix_s: Some(new.unix_s) }));
            }
            old = new;
            continue;
        }
        if new.unix_s != old.unix_s.saturating_add(1) {
            return Ok(None);
        }
        // The second began after the last look at the old one had begun, and before the first at the new had ended.
        let uncertainty_ns = new.after_ns.saturating_sub(old.before_ns).div_ceil(2);
        let boottime_ns = old.before_ns.saturating_add(uncertainty_ns);
        return Ok(Some(Reading::Running(Edge { unix_s: new.unix_s, boottime_ns, uncertainty_ns })));
    }
}

fn look(chip: &mut dyn Chip, pace: &dyn Pace) -> io::Result<Option<Look>> {
    let before_ns = pace.boottime_ns();
    let shown = chip.shown()?;
    let after_ns = pace.boottime_ns();
    Ok(match shown {
        Shown::Second(unix_s) => Some(Look { before_ns, after_ns, unix_s }),
        Shown::Stopped => None,
    })
}

/// Sets the chip so that its seconds begin with UTC's, and reads it back; takes about two seconds, at most some ten.
///
/// UTC is CLOCK_BOOTTIME plus `utc_minus_boottime_ns`. A chip that keeps a phase of its own is set to the nearest second.
pub(crate) fn set(chip: &mut dyn Chip, pace: &mut dyn Pace, utc_minus_boottime_ns: i64) -> io::Result<()> {
    let mut first_tick_ns = chip.first_tick_ns();
    let mut last_off_ns: Option<i64> = None;
    for _ in 0..SETTINGS_MAX {
        write_in_time(chip, pace, utc_minus_boottime_ns, first_tick_ns)?;
        chip.was_written()?;
        let Reading::Running(edge) = read(chip, pace)? else {
            return Err(io::Error::other("the chip stands still after it was set: replace it"));
        };
        let utc_ns = to_i64(edge.boottime_ns).saturating_add(utc_minus_boottime_ns);
        let off_ns = edge.unix_s.saturating_mul(SECOND_NS).saturating_sub(utc_ns);
        let tolerance_ns = SET_WELL_NS.saturating_add(edge.uncertainty_ns);
        if off_ns.unsigned_abs() <= tolerance_ns {
            return Ok(());
        }
        // A write at another phase that changed nothing of the chip's: it keeps its own, and half a second is its best.
        let keeps_phase = last_off_ns.is_some_and(|last| phase_apart_ns(last, off_ns) <= tolerance_ns);
        if keeps_phase {
            if off_ns.unsigned_abs() <= OWN_PHASE_NS {
                return Ok(());
            }
            // Written in the middle between its own seconds, rounded to the nearer one.
            let phase_ns = off_ns.rem_euclid(SECOND_NS);
            let ahead_ns = if phase_ns < SECOND_NS / 2 { phase_ns } else { phase_ns - SECOND_NS };
            first_tick_ns = SECOND_NS / 2 + ahead_ns;
        } else {
            let corrected_ns = first_tick_ns.saturating_sub(off_ns).rem_euclid(SECOND_NS);
            // No chip ticks at once after a write: what rounds to that is a whole second.
            let soon = corrected_ns < SOONEST_TICK_NS;
            first_tick_ns = if soon { corrected_ns + SECOND_NS } else { corrected_ns };
        }
        last_off_ns = Some(off_ns);
    }
    Err(io::Error::other("the chip does not keep the time that it is set to"))
}

/// Gives how far two offsets are apart within a second, nanoseconds.
fn phase_apart_ns(one_ns: i64, other_ns: i64) -> u64 {
    let apart = one_ns.saturating_sub(other_ns).rem_euclid(SECOND_NS);
    apart.min(SECOND_NS - apart).unsigned_abs()
}

/// Writes a second such that the next one begins with UTC's when the chip takes `first_tick_ns` to it.
fn write_in_time(
    chip: &mut dyn Chip,
    pace: &mut dyn Pace,
    utc_minus_boottime_ns: i64,
    first_tick_ns: i64,
) -> io::Result<()> {
    // A transfer takes about as long as a reading of the same registers; the chip acts in its middle.
    let before_ns = pace.boottime_ns();
    chip.shown()?;
    let latency_ns = to_i64(pace.boottime_ns().saturating_sub(before_ns) / 2);
    for _ in 0..WRITES_MAX {
        let utc_ns = to_i64(pace.boottime_ns()).saturating_add(utc_minus_boottime_ns);
        // The next second that can still be met.
        let earliest_ns =
            utc_ns.saturating_add(READY_NS).saturating_add(latency_ns).saturating_add(first_tick_ns);
        let next_s = earliest_ns.div_euclid(SECOND_NS).saturating_add(1);
        let write_utc_ns =
            next_s.saturating_mul(SECOND_NS).saturating_sub(first_tick_ns).saturating_sub(latency_ns);
        let write_ns = u64::try_from(write_utc_ns.saturating_sub(utc_minus_boottime_ns)).unwrap_or_default();
        pace.wait(write_ns.saturating_sub(pace.boottime_ns()));
        if pace.boottime_ns().saturating_sub(write_ns) <= LATE_NS {
            return chip.write(next_s.saturating_sub(1));
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the machine is too busy to set the chip on the second"))
}

fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
