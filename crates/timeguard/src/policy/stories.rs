//! Longer stories: what a box goes through in a day.

use control::status::{RtcState, SourceState, TimeState};
use platform::DriverFirst;
use platform::sim::{Random, SimNtpFault};

use super::{Input, Moment};
use crate::trial::{DAY_US, HOUR_US, SECOND_US, Setup, World};

fn status(world: &World) -> control::TimeStatus {
    use platform::time::BootClock;
    world
        .guard
        .status(Moment { boottime_ns: world.clock.boottime_ns(), realtime_us: world.clock.realtime_us() })
}

#[test]
fn a_box_without_a_chip_that_begins_at_1970_is_synced_in_a_second() {
    let mut world = World::new(Setup { chip: false, ..Setup::default() });
    world.clock.set_realtime_us(0);
    world.pass(SECOND_US);
    assert_eq!(world.guard.state(), TimeState::Synced);
    assert_eq!(world.steps.len(), 1);
    assert!(world.now().unwrap().error_bound_us() <= 100_000);
}

#[test]
fn a_box_from_the_drawer_waits_for_certificates_and_is_then_trusted() {
    let drawer = || Setup { chip: false, floor_behind_us: 200 * DAY_US, ..Setup::default() };
    let mut world = World::new(drawer());
    world.pass(120 * SECOND_US);
    assert!(world.now().is_none());
    assert!(status(&world).why_untrusted.unwrap().contains("hold the button"));
    let mut world = World::new(drawer());
    world.certificates = Some((-20 * DAY_US, 60 * DAY_US));
    world.pass(3 * SECOND_US);
    assert_eq!(world.guard.state(), TimeState::Synced);
}

#[test]
fn servers_that_know_the_time_only_roughly_do_not_set_the_chip() {
    let far = SimNtpFault { out_us: 700_000, back_us: 700_000, ..SimNtpFault::default() };
    let mut world = World::new(Setup { servers: vec![far; 4], ..Setup::default() });
    world.pass(HOUR_US);
    assert_eq!(world.guard.state(), TimeState::Synced);
    assert_eq!(world.chip.sets(), 0);
}

#[test]
fn a_chip_that_once_confirmed_the_clock_does_not_overrule_servers_later() {
    use platform::Rtc;
    let mut world = World::new(Setup::default());
    world.chip.jump(-HOUR_US);
    world.silence();
    world.pass_unchecked(30 * SECOND_US, &mut |_| {});
    world.clock.jump(DAY_US);
    world.pass_unchecked(30 * SECOND_US, &mut |_| {});
    assert_eq!(world.guard.state(), TimeState::Rtc, "the chip confirmed its own time");
    world.lie(0, 0);
    world.pass_unchecked(10 * SECOND_US, &mut |_| {});
    assert_eq!(world.guard.state(), TimeState::Suspect);
    let reading = world.chip.read().ok();
    world.feed(Input::Chip(reading));
    assert_eq!(world.guard.state(), TimeState::Suspect);
    assert!(world.now().is_none());
}

#[test]
fn a_good_chip_is_the_second_evidence_for_a_box_from_the_drawer() {
    let mut world = World::new(Setup { floor_behind_us: 200 * DAY_US, ..Setup::default() });
    world.pass(3 * SECOND_US);
    assert_eq!(world.guard.state(), TimeState::Synced);
}

#[test]
fn a_chip_that_nobody_remembers_setting_is_not_trusted_alone() {
    let mut world = World::new(Setup { floor_behind_us: 200 * DAY_US, ..Setup::default() });
    world.silence();
    world.pass(60 * SECOND_US);
    // 200 days at 5 ppm are 86 s.
    assert_eq!(world.guard.state(), TimeState::Rtc);
    assert!(world.now().is_none());
    assert!(world.refusals.last().unwrap().contains("may be wrong by"));
}

#[test]
fn a_wrong_chip_is_contradicted_before_anything_is_signed() {
    for jump_us in [-HOUR_US, HOUR_US, 300 * DAY_US] {
        // The servers take 0.8 s, longer than the chip.
        let slow = SimNtpFault { out_us: 400_000, back_us: 400_000, ..SimNtpFault::default() };
        let mut world = World::new(Setup { servers: vec![slow; 4], ..Setup::default() });
        world.chip.jump(jump_us);
        world.pass_unchecked(10 * SECOND_US, &mut |world| assert!(world.now().is_none()));
        assert_eq!(world.guard.state(), TimeState::Suspect);
    }
}

#[test]
fn the_clock_is_slewed_when_it_is_a_little_off() {
    let mut world = World::new(Setup::default());
    world.clock.jump(400_000);
    world.clock.set_drift_ppb(30_000);
    world.pass(1_200 * SECOND_US);
    assert!(world.steps.is_empty());
    assert!((world.clock.realtime_us_now() - world.true_us()).abs() < 50_000);
}

/// Reads CLOCK_REALTIME without importing the trait everywhere.
trait Realtime {
    fn realtime_us_now(&self) -> i64;
}

impl Realtime for platform::sim::SimClock {
    fn realtime_us_now(&self) -> i64 {
        platform::time::BootClock::realtime_us(self)
    }
}

#[test]
fn the_floor_and_the_chip_are_kept_cheaply() {
    let mut world = World::new(Setup::default());
    world.pass(DAY_US);
    let floors = world.saved.iter().map(|saved| saved.floor_us).collect::<std::collections::BTreeSet<_>>();
    assert!((4..=6).contains(&floors.len()), "{floors:?}");
    assert!(world.saved.len() <= 6, "a first agreement, a setting, and every 6 h");
    assert!(i64::try_from(*floors.last().unwrap()).unwrap() <= world.true_us());
    assert!((1..=2).contains(&world.chip.sets()));
    assert!(matches!(status(&world).rtc, RtcState::Running { .. }));
}

/// A box whose chip runs off by 4 ppm is on for some days, and off for 17; then no server answers.
fn seventeen_days_off(days_on: i64) -> World {
    let mut world = World::new(Setup::default());
    world.chip.set_drift_ppb(4_000);
    world.pass(days_on * DAY_US + HOUR_US);
    world.silence();
    world.switch_off(17 * DAY_US);
    world.pass(10 * SECOND_US);
    assert_eq!(world.guard.state(), TimeState::Rtc);
    world
}

#[test]
fn a_learned_drift_lets_the_chip_be_trusted_for_longer_and_holds_its_bound() {
    let world = seventeen_days_off(6);
    let drift = world.saved.last().unwrap().rtc_drift.unwrap();
    assert!(drift.rate_ppb.abs_diff(4_000) < 500, "{drift:?}");
    // 5.9 s ahead by itself; `pass` has checked the bound.
    assert!(world.error_us().unwrap().abs() < SECOND_US, "{:?}", world.error_us());
    // 17 days at 5 ppm are 7.3 s: too much without what was learned.
    let stranger = seventeen_days_off(1);
    assert!(stranger.now().is_none());
    assert!(stranger.refusals.last().unwrap().contains("may be wrong by"));
}

#[test]
fn somebody_who_sets_the_chip_takes_the_learned_drift_away() {
    let mut world = World::new(Setup::default());
    world.pass(5 * DAY_US);
    assert!(world.saved.last().unwrap().rtc_drift.unwrap().is_settled());
    world.chip.jump(-2 * HOUR_US);
    world.pass(2 * DAY_US);
    assert!(world.saved.last().unwrap().rtc_drift.is_none_or(|drift| !drift.is_settled()));
    assert!(status(&world).rtc_drift_ppb.is_none());
}

#[test]
fn a_chip_that_a_driver_had_first_counts_once_it_is_set() {
    for (driver_first, shown) in
        [(DriverFirst::FoundStopped, RtcState::Stopped), (DriverFirst::Unknown, RtcState::Unproven)]
    {
        let mut world = World::new(Setup::default());
        world.chip.set_driver_first(Some(driver_first));
        world.silence();
        world.pass(60 * SECOND_US);
        assert_eq!((world.guard.state(), status(&world).rtc), (TimeState::Unknown, shown));
        assert!(world.now().is_none());
        world.lie(0, 0);
        world.pass(10 * SECOND_US);
        assert_eq!((world.guard.state(), world.chip.sets()), (TimeState::Synced, 1));
        // The driver still has it: what we have set in this boot we know.
        world.silence();
        world.pass(HOUR_US);
        assert!(matches!(status(&world).rtc, RtcState::Running { .. }));
        assert_eq!(world.guard.state(), TimeState::Holdover);
    }
}

#[test]
fn a_chip_that_stops_after_it_was_set_is_set_again() {
    use platform::Rtc;
    let mut world = World::new(Setup::default());
    world.pass(10 * SECOND_US);
    assert_eq!(world.chip.sets(), 1);
    world.chip.stop();
    let reading = world.chip.read().ok();
    world.feed(Input::Chip(reading));
    assert_eq!(status(&world).rtc, RtcState::Stopped);
    world.pass(15 * 60 * SECOND_US);
    assert_eq!(world.chip.sets(), 2);
    // Nor is one left wrong that somebody else has set.
    world.chip.jump(HOUR_US);
    let reading = world.chip.read().ok();
    world.feed(Input::Chip(reading));
    world.pass(15 * 60 * SECOND_US);
    assert_eq!(world.chip.sets(), 3);
}

#[test]
fn the_battery_of_the_chip_is_told() {
    use platform::Battery;
    let mut world = World::new(Setup::default());
    world.chip.set_battery(Battery::Low);
    world.pass(5 * SECOND_US);
    assert_eq!(status(&world).rtc_battery, Battery::Low);
    world.chip.set_battery(Battery::Good);
    world.pass(2 * DAY_US);
    assert_eq!(status(&world).rtc_battery, Battery::Good, "it is read once a day");
}

#[test]
fn the_votes_are_told_won_or_not() {
    let votes = |world: &World| status(world).vote.map(|vote| (vote.agreeing, vote.voters, vote.needed));
    let mut world = World::new(Setup { chip: false, ..Setup::default() });
    assert_eq!(votes(&world), None);
    world.pass(5 * SECOND_US);
    assert_eq!(votes(&world), Some((4, 4, 3)));
    world.lie(2, HOUR_US);
    world.pass(5 * SECOND_US);
    assert_eq!(votes(&world), Some((2, 4, 3)));
}

#[test]
fn a_day_of_holdover_ends_without_trust_and_the_network_mends_it() {
    let mut world = World::new(Setup { chip: false, ..Setup::default() });
    world.clock.set_drift_ppb(80_000);
    world.pass(60 * SECOND_US);
    world.silence();
    world.pass(12 * HOUR_US);
    assert!(world.now().is_some());
    world.pass(12 * HOUR_US);
    assert!(world.now().is_none());
    assert_eq!(world.guard.state(), TimeState::Holdover);
    world.lie(0, 0);
    world.pass(10 * SECOND_US);
    assert!(world.now().is_some());
}

#[test]
fn a_leap_second_is_taken_by_the_majority() {
    for seed in 0..40 {
        leap(seed);
    }
}

fn leap(seed: u64) {
    // 2026-11-30T24:00:00Z.
    let month_end_us = 1_796_083_200_000_000;
    let start_us = month_end_us - HOUR_US;
    let mut world = World::new(Setup { chip: false, seed, start_us, ..Setup::default() });
    world.clock.set_drift_ppb(platform::sim::Random::new(seed).around_zero(50_000));
    world.pass(i64::try_from(seed).unwrap() * 1_700_000);
    for server in &world.servers[..3] {
        server.set_fault(SimNtpFault { leap: 1, ..SimNtpFault::default() });
    }
    world.pass(month_end_us - world.true_us() - 1);
    // UTC repeats its last second: the servers follow.
    world.leapt_us = -SECOND_US;
    for server in &world.servers {
        server.set_fault(SimNtpFault::default());
    }
    world.pass(HOUR_US);
    assert_eq!(world.guard.state(), TimeState::Synced);
    assert!(world.error_us().unwrap().abs() < 100_000);
    let stepped_us: i64 = world.steps.iter().sum();
    assert!((stepped_us + SECOND_US).abs() < 100_000, "{:?}", world.steps);
}

#[test]
fn a_flapping_server_does_not_move_the_time() {
    let mut world = World::new(Setup::default());
    world.pass(20 * SECOND_US);
    for turn in 0..50 {
        let lie_us = if turn % 2 == 0 { 7 * SECOND_US } else { 0 };
        world.servers[2].set_fault(SimNtpFault { lie_us, ..SimNtpFault::default() });
        world.pass(64 * SECOND_US);
        assert_eq!(world.guard.state(), TimeState::Synced);
    }
    assert!(world.steps.is_empty());
}

#[test]
fn kissed_servers_are_left_alone_and_three_still_suffice() {
    let mut world = World::new(Setup::default());
    world.servers[0].set_fault(SimNtpFault { kiss: Some(*b"DENY"), ..SimNtpFault::default() });
    world.pass(HOUR_US);
    assert_eq!(world.guard.state(), TimeState::Synced);
    assert_eq!(status(&world).sources[0].answers, SourceState::Refuses);
}

#[test]
fn a_system_that_forbids_setting_the_clock_is_told_in_words() {
    let mut world = World::new(Setup::default());
    world.may_step = false;
    world.clock.jump(60 * SECOND_US);
    world.pass(30 * SECOND_US);
    assert!(world.now().is_none(), "readers see that the clocks differ");
    assert_eq!(world.steps.len(), 1, "it does not try for ever");
    let status = status(&world);
    assert!(!status.trusted && status.why_untrusted.unwrap().contains("system clock is off by"));
}

#[test]
fn outside_the_appliance_nothing_is_set() {
    let mut world = World::new(Setup { may_set_clock: false, chip: false, ..Setup::default() });
    world.clock.jump(300_000);
    world.pass(HOUR_US);
    assert!(world.steps.is_empty());
    assert!(world.now().is_some());
    assert!(world.error_us().unwrap().abs() < 100_000, "the PDS has the right time all the same");
}

/// Lets time pass until the guard is synced, and gives how long that took, microseconds.
fn until_synced(world: &mut World, limit_us: i64) -> i64 {
    let began_us = world.true_us();
    let mut synced_us = None;
    world.pass_unchecked(limit_us, &mut |world| {
        if world.guard.state() == TimeState::Synced && world.now().is_some() {
            synced_us = synced_us.or(Some(world.true_us() - began_us));
        }
    });
    synced_us.unwrap_or(i64::MAX)
}

/// A box in any of the ways in which it waits for its network; the network comes in the middle of anything.
fn without_network(seed: u64, setup: Setup) -> (World, SimNtpFault) {
    let mut random = Random::new(seed);
    let mut world = World::new(Setup { seed, ..setup });
    world.clock.jump(random.around_zero(20 * 366 * 86_400_000_000));
    world.clock.set_drift_ppb(random.around_zero(90_000));
    world.chip.set_dead(random.percent(30));
    world.silence();
    world.pass(i64::try_from(random.up_to(900 * 1_000_000)).unwrap());
    let honest = SimNtpFault {
        out_us: random.up_to(60_000),
        back_us: random.up_to(60_000),
        jitter_us: random.up_to(15_000),
        ..SimNtpFault::default()
    };
    (world, honest)
}

fn network_comes(world: &mut World, honest: &SimNtpFault) {
    for server in &world.servers {
        server.set_fault(honest.clone());
    }
    world.feed(Input::NetworkUp);
}

#[test]
fn trust_comes_within_three_seconds_of_the_network() {
    let mut worst_us = 0;
    for seed in 0..400 {
        let (mut world, honest) = without_network(seed, Setup { chip: seed % 2 == 0, ..Setup::default() });
        network_comes(&mut world, &honest);
        let took_us = until_synced(&mut world, 20 * SECOND_US);
        assert!(took_us <= 3 * SECOND_US, "seed {seed}: {took_us} us");
        worst_us = worst_us.max(took_us);
    }
    println!("synced at most {worst_us} us after network-up");
}

#[test]
fn trust_comes_within_three_seconds_of_a_start_with_the_network_up() {
    for (seed, dead) in [(1, false), (2, true)] {
        let mut world = World::new(Setup { seed, ..Setup::default() });
        world.chip.set_dead(dead);
        let took_us = until_synced(&mut world, 20 * SECOND_US);
        assert!(took_us <= 3 * SECOND_US, "chip dead: {dead}, {took_us} us");
    }
}

#[test]
fn trust_comes_within_ten_seconds_of_the_network_where_a_second_evidence_is_needed() {
    let mut worst_us = 0;
    for seed in 0..200 {
        let drawer = Setup { chip: false, floor_behind_us: 200 * DAY_US, ..Setup::default() };
        let (mut world, honest) = without_network(seed, drawer);
        world.certificates = Some((-20 * DAY_US, 60 * DAY_US));
        // The longest that a host may take (`certificates::HOST_WAIT`), and a second for the others.
        world.certificates_after_us = 7 * SECOND_US;
        network_comes(&mut world, &honest);
        let took_us = until_synced(&mut world, 30 * SECOND_US);
        assert!(took_us <= 10 * SECOND_US, "seed {seed}: {took_us} us");
        worst_us = worst_us.max(took_us);
    }
    println!("synced with certificates at most {worst_us} us after network-up");
}

#[test]
fn certificates_that_cannot_be_had_at_first_are_looked_at_again_soon_and_then_rarely() {
    let drawer = Setup { chip: false, floor_behind_us: 200 * DAY_US, ..Setup::default() };
    let mut world = World::new(drawer.clone());
    world.pass(SECOND_US);
    world.certificates = Some((-20 * DAY_US, 60 * DAY_US));
    assert!(until_synced(&mut world, 20 * SECOND_US) <= 9 * SECOND_US);
    let mut world = World::new(drawer);
    world.pass(DAY_US);
    assert!((100..200).contains(&world.looks_at_certificates), "{}", world.looks_at_certificates);
}

#[test]
fn a_box_without_network_says_what_to_check() {
    let mut world = World::new(Setup { chip: false, ..Setup::default() });
    world.silence();
    world.pass(300 * SECOND_US);
    assert!(status(&world).why_untrusted.unwrap().contains("check the network"));
}
