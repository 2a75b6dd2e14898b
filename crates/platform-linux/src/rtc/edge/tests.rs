//! Reading and setting, on chips that keep, restart or refuse a phase, in simulated time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;

/// CLOCK_BOOTTIME that moves when it is waited for, when the chip is spoken to, and by hand.
#[derive(Clone, Debug)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn pass(&self, span_ns: u64) {
        self.0.fetch_add(span_ns, Relaxed);
    }
}

/// Waits a little too long each time, and far too long now and then.
#[derive(Debug)]
struct FakePace {
    time: Time,
    waits: u64,
    hiccup_every: u64,
    hiccup_ns: u64,
}

impl Pace for FakePace {
    fn boottime_ns(&self) -> u64 {
        self.time.0.load(Relaxed)
    }

    fn wait(&mut self, span_ns: u64) {
        self.waits += 1;
        let hiccup_ns = if self.waits.is_multiple_of(self.hiccup_every) { self.hiccup_ns } else { 0 };
        self.time.pass(span_ns + 70_000 + hiccup_ns);
    }
}

/// What a write does to the seconds' phase.
#[derive(Clone, Copy, Debug)]
enum OnWrite {
    /// The next second comes after so many nanoseconds.
    Restarts(i64),
    /// The phase stays.
    Keeps,
    /// Nothing happens.
    Ignores,
}

#[derive(Debug)]
struct FakeChip {
    time: Time,
    on_write: OnWrite,
    /// What the data sheet says.
    first_tick_ns: i64,
    /// Chip time minus CLOCK_BOOTTIME.
    offset_ns: i64,
    standing: bool,
    stopped: bool,
    transfer_ns: u64,
    written: u32,
}

impl FakeChip {
    fn now_ns(&self) -> i64 {
        if self.standing { self.offset_ns } else { to_i64(self.time.0.load(Relaxed)) + self.offset_ns }
    }
}

impl Chip for FakeChip {
    fn shown(&mut self) -> io::Result<Shown> {
        self.time.pass(self.transfer_ns / 2);
        let second = self.now_ns().div_euclid(SECOND_NS);
        self.time.pass(self.transfer_ns / 2);
        Ok(Shown::Second(second))
    }

    fn is_stopped(&mut self) -> io::Result<bool> {
        Ok(self.stopped)
    }

    fn write(&mut self, unix_s: i64) -> io::Result<()> {
        self.time.pass(self.transfer_ns / 2);
        let now_ns = to_i64(self.time.0.load(Relaxed));
        let fraction_ns = match self.on_write {
            OnWrite::Restarts(first_tick_ns) => SECOND_NS - first_tick_ns,
            OnWrite::Keeps => self.now_ns().rem_euclid(SECOND_NS),
            OnWrite::Ignores => return Ok(()),
        };
        self.offset_ns = unix_s * SECOND_NS + fraction_ns - now_ns;
        self.written += 1;
        self.time.pass(self.transfer_ns / 2);
        Ok(())
    }

    fn was_written(&mut self) -> io::Result<()> {
        self.stopped = false;
        Ok(())
    }

    fn first_tick_ns(&self) -> i64 {
        self.first_tick_ns
    }

    fn battery(&mut self) -> Battery {
        Battery::Unknown
    }
}

const UTC_MINUS_BOOT_NS: i64 = 1_795_401_296_123_456_789;

fn bench(on_write: OnWrite) -> (FakeChip, FakePace) {
    let time = Time(Arc::new(AtomicU64::new(77_777_777_777)));
    let chip = FakeChip {
        time: time.clone(),
        on_write,
        first_tick_ns: SECOND_NS,
        offset_ns: UTC_MINUS_BOOT_NS - 3_123_400_000,
        standing: false,
        stopped: false,
        transfer_ns: 1_100_000,
        written: 0,
    };
    (chip, FakePace { time, waits: 0, hiccup_every: u64::MAX, hiccup_ns: 0 })
}

/// Chip time minus UTC, nanoseconds.
fn off_ns(chip: &FakeChip) -> i64 {
    chip.offset_ns - UTC_MINUS_BOOT_NS
}

#[test]
fn a_reading_is_true_within_its_uncertainty_of_milliseconds() {
    for start in 0..40 {
        let (mut chip, mut pace) = bench(OnWrite::Keeps);
        pace.time.pass(start * 27_333_333);
        let Reading::Running(edge) = read(&mut chip, &mut pace).unwrap() else { panic!("it runs") };
        let truth_ns = edge.unix_s * SECOND_NS - chip.offset_ns;
        assert!(to_i64(edge.boottime_ns).abs_diff(truth_ns) <= edge.uncertainty_ns);
        assert!(edge.uncertainty_ns < 5_000_000, "{edge:?}");
    }
}

#[test]
fn a_busy_machine_makes_a_reading_vaguer_and_never_wrong() {
    for (hiccup_every, hiccup_ns) in
        [(3, 40_000_000), (1, 90_000_000), (7, 1_500_000_000), (50, 2_500_000_000)]
    {
        let (mut chip, pace) = bench(OnWrite::Keeps);
        let mut pace = FakePace { hiccup_every, hiccup_ns, ..pace };
        if let Ok(Reading::Running(edge)) = read(&mut chip, &mut pace) {
            let truth_ns = edge.unix_s * SECOND_NS - chip.offset_ns;
            assert!(to_i64(edge.boottime_ns).abs_diff(truth_ns) <= edge.uncertainty_ns);
        }
    }
}

#[test]
fn a_chip_that_stands_still_is_stopped_whatever_its_flag_says() {
    let (mut chip, mut pace) = bench(OnWrite::Keeps);
    chip.standing = true;
    assert!(matches!(read(&mut chip, &mut pace).unwrap(), Reading::Stopped { unix_s: Some(_) }));
    chip.standing = false;
    chip.stopped = true;
    assert!(matches!(read(&mut chip, &mut pace).unwrap(), Reading::Stopped { unix_s: Some(_) }));
}

#[test]
fn a_chip_that_restarts_its_second_is_set_on_the_edge_at_once() {
    let (mut chip, mut pace) = bench(OnWrite::Restarts(SECOND_NS));
    chip.stopped = true;
    set(&mut chip, &mut pace, UTC_MINUS_BOOT_NS).unwrap();
    assert!(off_ns(&chip).abs() < 2_000_000, "{}", off_ns(&chip));
    assert_eq!((chip.written, chip.stopped), (1, false));
}

#[test]
fn a_chip_with_another_first_second_than_thought_is_corrected_once() {
    for first_tick_ns in [507_874_000, 30_000_000, 250_000_000, 960_000_000, SECOND_NS] {
        let (mut chip, mut pace) = bench(OnWrite::Restarts(first_tick_ns));
        chip.first_tick_ns = 700_000_000;
        set(&mut chip, &mut pace, UTC_MINUS_BOOT_NS).unwrap();
        assert!(off_ns(&chip).abs() < 20_000_000, "{first_tick_ns}: {}", off_ns(&chip));
        assert_eq!(chip.written, 2);
    }
}

#[test]
fn a_chip_that_keeps_its_phase_is_set_to_the_nearest_second() {
    for phase in 0..20 {
        let (mut chip, mut pace) = bench(OnWrite::Keeps);
        chip.offset_ns += phase * 50_000_000;
        set(&mut chip, &mut pace, UTC_MINUS_BOOT_NS).unwrap();
        assert!(off_ns(&chip).abs() <= 505_000_000, "{phase}: {}", off_ns(&chip));
    }
}

#[test]
fn a_chip_that_does_not_take_the_time_is_an_error() {
    let (mut chip, mut pace) = bench(OnWrite::Ignores);
    assert!(set(&mut chip, &mut pace, UTC_MINUS_BOOT_NS).is_err());
    chip.standing = true;
    assert!(set(&mut chip, &mut pace, UTC_MINUS_BOOT_NS).is_err());
}

#[test]
fn a_write_that_comes_late_waits_for_the_next_second() {
    let (mut chip, pace) = bench(OnWrite::Restarts(SECOND_NS));
    let mut pace = FakePace { hiccup_every: 2, hiccup_ns: 300_000_000, ..pace };
    // Each second wait is 300 ms too long, the first too.
    pace.waits = 1;
    set(&mut chip, &mut pace, UTC_MINUS_BOOT_NS).unwrap();
    assert!(off_ns(&chip).abs() < 20_000_000, "{}", off_ns(&chip));
}
