//! Each condition of the verdict, one by one.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sim::trusted_clock;

/// 2026-11-23T02:34:56.789Z.
const NOW_US: u64 = 1_795_401_296_789_000;

#[test]
fn a_trusted_clock_tells_the_time_and_its_bound() {
    let (clock, sim) = trusted_clock(NOW_US);
    let now = clock.now().unwrap();
    assert_eq!(now.unix_micros(), NOW_US);
    assert_eq!(now.to_rfc3339(), "2026-11-23T02:34:56.789Z");
    assert!(now.error_bound_us() <= TRUST_BOUND_US);
    sim.advance(Duration::from_millis(1_500));
    assert_eq!(clock.now().unwrap().unix_micros(), NOW_US + 1_500_000);
    assert_eq!(clock.now().unwrap().unix_seconds(), NOW_US / 1_000_000 + 2);
}

#[test]
fn a_verdict_dies_after_thirty_seconds_without_renewal() {
    let (clock, sim) = trusted_clock(NOW_US);
    sim.stop_renewing();
    sim.advance(Duration::from_secs(30));
    assert!(clock.now().is_ok());
    sim.advance(Duration::from_millis(1));
    assert_eq!(clock.now().unwrap_err().why, Untrusted::Expired { silent_s: 30 });
}

#[test]
fn a_writer_cannot_grant_itself_a_longer_life() {
    let (_, sim) = trusted_clock(NOW_US);
    let mut verdict = sim.verdict().unwrap();
    verdict.valid_until_boottime_ns = u64::MAX;
    let late = verdict.boottime_ns + VERDICT_LIFE_NS + 1;
    let realtime_us = i64::try_from(verdict.unix_us_at(late).unwrap()).unwrap();
    assert!(matches!(judge(&verdict, sim.boot_id(), late, realtime_us), Err(Untrusted::Expired { .. })));
}

#[test]
fn another_boot_is_not_believed() {
    let (_, sim) = trusted_clock(NOW_US);
    let verdict = sim.verdict().unwrap();
    let other = BootId::parse("00000000-0000-4000-8000-000000000001").unwrap();
    assert_eq!(judge(&verdict, other, verdict.boottime_ns, sim.realtime_us()), Err(Untrusted::OtherBoot));
}

#[test]
fn a_verdict_about_the_future_is_not_believed() {
    let (_, sim) = trusted_clock(NOW_US);
    let verdict = sim.verdict().unwrap();
    let early = verdict.boottime_ns - 1;
    assert_eq!(judge(&verdict, sim.boot_id(), early, sim.realtime_us()), Err(Untrusted::NoVerdict));
}

#[test]
fn a_bound_grows_with_its_rate_until_it_is_too_wide() {
    let (_, sim) = trusted_clock(NOW_US);
    let mut verdict = sim.verdict().unwrap();
    verdict.error_bound_us = TRUST_BOUND_US - 1_000;
    verdict.rate_ppb = 100_000;
    let at = |seconds: u64| {
        let boottime_ns = verdict.boottime_ns + seconds * 1_000_000_000;
        let realtime_us = i64::try_from(verdict.unix_us_at(boottime_ns).unwrap()).unwrap();
        judge(&verdict, sim.boot_id(), boottime_ns, realtime_us)
    };
    assert_eq!(at(10).unwrap().error_bound_us(), TRUST_BOUND_US);
    assert_eq!(at(11), Err(Untrusted::BoundTooWide { bound_ms: 5_000 }));
}

#[test]
fn a_foreign_program_that_sets_the_clock_ends_the_trust() {
    let (clock, sim) = trusted_clock(NOW_US);
    sim.jump(600_000_000);
    assert_eq!(clock.now().unwrap_err().why, Untrusted::RealtimeDisagrees { off_ms: 600_000 });
    sim.jump(-600_000_000 - 1_000_001);
    assert_eq!(clock.now().unwrap_err().why, Untrusted::RealtimeDisagrees { off_ms: -1_000 });
    sim.set_realtime_us(i64::MIN);
    assert!(clock.now().is_err());
    sim.set_realtime_us(i64::try_from(NOW_US).unwrap());
    assert!(clock.now().is_ok());
}

#[test]
fn a_refusal_is_told_in_the_guards_words() {
    let (clock, sim) = trusted_clock(NOW_US);
    sim.distrust();
    let refused = clock.now().unwrap_err();
    assert!(refused.to_string().contains("no time server"));
    assert_eq!(refused.retry_after_s, RETRY_AFTER_S);
    sim.trust_at(NOW_US - 5_000_000);
    assert_eq!(clock.now().unwrap().unix_micros(), NOW_US - 5_000_000);
}

#[test]
fn nothing_said_is_not_trusted() {
    let (_, sim) = trusted_clock(NOW_US);
    let cell = Arc::new(VerdictCell::default());
    let clock = Clock::new(sim.clone(), cell.clone());
    assert_eq!(clock.now().unwrap_err().why, Untrusted::NoVerdict);
    cell.publish(sim.verdict().unwrap());
    assert!(clock.now().is_ok());
    cell.refuse("two of four disagree".to_owned());
    assert_eq!(clock.now().unwrap_err().to_string(), "two of four disagree");
}

#[test]
fn a_slew_moves_both_clocks_and_a_step_only_one() {
    let (_, sim) = trusted_clock(NOW_US);
    let (boot, real) = (sim.boottime_ns(), sim.realtime_us());
    sim.slew(100_000).unwrap();
    sim.advance(Duration::from_secs(100));
    assert_eq!(sim.boottime_ns() - boot, 100_050_000_000);
    assert_eq!(sim.realtime_us() - real, 100_050_000);
    sim.advance(Duration::from_secs(900));
    assert_eq!(sim.realtime_us() - real, 1_000_100_000);
    sim.step(7_000_000).unwrap();
    assert_eq!(sim.realtime_us() - real, 1_007_100_000);
    assert_eq!(sim.boottime_ns() - boot, 1_000_100_000_000);
}

#[test]
fn a_boot_id_is_read_as_the_kernel_writes_it() {
    let text = "6fb1d8a0-9d8a-4a0e-8c53-0123456789ab";
    assert_eq!(BootId::parse(&format!("{text}\n")).unwrap().to_string(), text);
    for wrong in ["", "6fb1", "6fb1d8a0-9d8a-4a0e-8c53-0123456789abc", "zfb1d8a0-9d8a-4a0e-8c53-0123456789ab"]
    {
        assert_eq!(BootId::parse(wrong), Err(BootIdError), "{wrong}");
    }
}

#[test]
fn a_verdict_survives_json() {
    let (_, sim) = trusted_clock(NOW_US);
    let verdict = sim.verdict().unwrap();
    let text = serde_json::to_string(&verdict).unwrap();
    assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
}

#[test]
fn dates_are_written_as_the_calendar_has_them() {
    for (unix_s, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_709_164_800, "2024-02-29T00:00:00.000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        (2_085_978_496, "2036-02-07T06:28:16.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799, "9999-12-31T23:59:59.000Z"),
    ] {
        assert_eq!(format_rfc3339_millis(unix_s * 1_000_000), text);
    }
    assert_eq!(format_rfc3339_millis(u64::MAX), "9999-12-31T23:59:59.999Z");
}

proptest! {
    #[test]
    fn later_is_written_as_greater_text(a in 0_u64..253_402_300_799_000, b in 0_u64..253_402_300_799_000) {
        let (a, b) = (a.min(b), a.max(b));
        prop_assert!(format_rfc3339_millis(a * 1_000) <= format_rfc3339_millis(b * 1_000));
    }
}
