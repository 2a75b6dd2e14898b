//! Each state against each evidence: the table of `docs/time-guard.md`, cell by cell. What is expected is read from the
//! document, so that it and the code cannot disagree.

use control::status::TimeState::{self, Holdover, Rtc, Suspect, Synced, Unknown};

use platform::DriverFirst;
use platform::sim::SimNtpFault;
use platform::time::BootClock;

use super::Input;
use crate::trial::{DAY_US, HOUR_US, SECOND_US, Setup, World};

/// The document.
const DOCUMENT: &str = include_str!("../../../../docs/time-guard.md");

/// The states in the order of the columns.
const STATES: [TimeState; 5] = [Unknown, Rtc, Synced, Holdover, Suspect];

/// The rows of the document's table: evidence, and per state the state afterwards and whether it is trusted.
fn written() -> Vec<(&'static str, Vec<(TimeState, bool)>)> {
    let table = DOCUMENT.split_once("| evidence | Unknown | Rtc | Synced | Holdover | Suspect |").unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let evidence = cells.next().unwrap();
        (evidence, cells.map(cell).collect())
    })
    .collect()
}

/// Reads `**Rtc** (1)`: bold is trusted, a number in brackets is a footnote.
fn cell(text: &str) -> (TimeState, bool) {
    let word = text.split(" (").next().unwrap();
    let name = word.trim_matches('*');
    let state = STATES.into_iter().find(|state| format!("{state:?}") == name);
    (state.unwrap_or_else(|| panic!("no state: {text}")), word.starts_with("**"))
}

/// Lets the evidence work in each state among so many servers, and compares state and trust with the document.
fn row(evidence: &str, servers: usize, give: fn(&mut World)) {
    let rows = written();
    let (_, expected) = rows.iter().find(|(row, _)| *row == evidence).expect("a row of the document");
    assert_eq!(expected.len(), STATES.len(), "{evidence}: a cell is missing");
    for (state, expected) in STATES.into_iter().zip(expected) {
        let mut world = world_with(servers, state);
        give(&mut world);
        let got = (world.guard.state(), world.now().is_some());
        assert_eq!(got, *expected, "cell \"{evidence}\" x {state:?}: {:?}", world.refusals.last());
    }
}

/// Makes a test of each row, and the list of all of them.
macro_rules! rows {
    ($($test:ident: $evidence:literal among $servers:literal, $give:expr;)*) => {
        $(
            #[test]
            fn $test() {
                row($evidence, $servers, $give);
            }
        )*

        #[test]
        fn every_row_of_the_document_has_a_test_and_every_test_a_row() {
            let rows: Vec<&str> = written().into_iter().map(|(evidence, _)| evidence).collect();
            assert_eq!(rows, [$($evidence),*]);
        }
    };
}

/// Makes a world of so many servers, each of its own operator, whose guard is in a state. The floor is a day behind, no
/// certificates can be had.
fn world_with(servers: usize, state: TimeState) -> World {
    let mut world = World::new(Setup { servers: vec![SimNtpFault::default(); servers], ..Setup::default() });
    match state {
        Unknown => {
            world.chip.set_dead(true);
            world.silence();
        }
        Rtc => world.silence(),
        Synced => {}
        Holdover => {
            world.pass(10 * SECOND_US);
            world.silence();
        }
        // The chip was set an hour behind by somebody, and the servers tell the truth.
        Suspect => world.chip.jump(-HOUR_US),
    }
    world.pass(30 * SECOND_US);
    assert_eq!(world.guard.state(), state);
    world
}

/// Lets time pass without looking at the error: servers lie here.
fn wait(world: &mut World, span_us: i64) {
    world.pass_unchecked(span_us, &mut |_| {});
}

fn read_chip(world: &mut World) {
    use platform::Rtc as _;
    let reading = world.chip.read().ok();
    world.feed(Input::Chip(reading));
}

/// Servers lie for a while.
fn lie_for(world: &mut World, liars: usize, lie_us: i64, span_us: i64) {
    world.lie(liars, lie_us);
    wait(world, span_us);
}

fn stopped_chip(world: &mut World) {
    world.chip.set_dead(false);
    world.chip.stop();
    read_chip(world);
    // Even when what it shows happens to be possible.
    let reading = platform::RtcReading {
        unix_us: world.true_us(),
        boottime_ns: world.clock.boottime_ns(),
        uncertainty_us: 0,
        stopped: true,
        driver_first: None,
        battery: platform::Battery::Unknown,
    };
    world.feed(Input::Chip(Some(reading)));
}

fn jumped_chip(world: &mut World, jump_us: i64) {
    world.chip.set_dead(false);
    world.chip.jump(jump_us);
    read_chip(world);
}

fn driven_chip(world: &mut World) {
    world.chip.set_dead(false);
    for driver_first in [DriverFirst::Unknown, DriverFirst::FoundStopped] {
        world.chip.set_driver_first(Some(driver_first));
        read_chip(world);
    }
}

fn chip_an_hour_ahead(world: &mut World) {
    // Alone it is believed: that is the risk of a chip, and why reachable servers get 3 s to object at the start.
    let leant_on = world.now().is_some();
    jumped_chip(world, HOUR_US);
    if leant_on {
        wait(world, SECOND_US);
        assert!(world.error_us().unwrap().abs() < 5 * SECOND_US, "the jump is not followed");
    }
}

fn near_majority(world: &mut World) {
    let chip_us = if world.guard.state() == Suspect { -HOUR_US } else { 0 };
    lie_for(world, 4, chip_us, 10 * SECOND_US);
}

/// The owner confirms a date so far ahead of the truth, while the screen asks about one that is 60 days ahead.
fn owner_confirms(world: &mut World, ahead_us: i64) {
    lie_for(world, 3, 60 * DAY_US, 20 * SECOND_US);
    let asked_us = world.guard.status(super::Moment { boottime_ns: 0, realtime_us: 0 }).asks_owner_us;
    assert!(asked_us.is_some());
    let shown_us = u64::try_from(world.true_us() + ahead_us).unwrap();
    world.feed(Input::OwnerAccepts(shown_us));
    wait(world, SECOND_US);
}

fn with_certificates(world: &mut World, span_us: (i64, i64), lie_us: i64) {
    world.certificates = Some(span_us);
    lie_for(world, 3, lie_us, 40 * SECOND_US);
}

fn silence_for(world: &mut World, span_us: i64) {
    world.silence();
    wait(world, span_us);
}

const MINUTE_US: i64 = 60 * SECOND_US;

rows! {
    a_sane_chip: "a sane chip" among 4, |world| {
        world.chip.set_dead(false);
        read_chip(world);
    };
    a_stopped_chip: "a stopped chip" among 4, stopped_chip;
    a_failing_chip: "a failing chip" among 4, |world| {
        world.chip.set_dead(true);
        read_chip(world);
    };
    a_chip_below_the_floor: "a chip below the floor" among 4, |world| jumped_chip(world, -2 * DAY_US);
    a_chip_beyond_its_life: "a chip beyond its life" among 4, |world| jumped_chip(world, 21 * 366 * DAY_US);
    a_chip_that_a_driver_had_first: "a chip that a driver had first" among 4, driven_chip;
    a_chip_ahead: "a chip an hour ahead" among 4, chip_an_hour_ahead;
    a_near_majority: "a majority near what is believed" among 4, near_majority;
    three_of_four_back: "3 of 4 say two hours back" among 4,
        |world| lie_for(world, 3, -2 * HOUR_US, 10 * SECOND_US);
    three_of_four_back_for_long: "3 of 4 say two hours back, for 30 s" among 4,
        |world| lie_for(world, 3, -2 * HOUR_US, MINUTE_US);
    three_of_four_forward: "3 of 4 say a day forward" among 4, |world| lie_for(world, 3, DAY_US, 20 * MINUTE_US);
    three_of_five_forward: "3 of 5 say a day forward" among 5, |world| lie_for(world, 3, DAY_US, 20 * MINUTE_US);
    all_forward_for_a_while: "4 of 4 say a day forward, for 14 min" among 4,
        |world| lie_for(world, 4, DAY_US, 14 * MINUTE_US);
    all_forward_for_long: "4 of 4 say a day forward, for 16 min" among 4,
        |world| lie_for(world, 4, DAY_US, 16 * MINUTE_US);
    forward_against_certificates: "3 of 4 say a day forward, certificates forbid it" among 4,
        |world| with_certificates(world, (-50 * DAY_US, DAY_US / 2), DAY_US);
    all_far_forward: "4 of 4 say 60 days forward" among 4,
        |world| lie_for(world, 4, 60 * DAY_US, 20 * MINUTE_US);
    far_forward_with_certificates: "3 of 4 say 60 days forward, certificates allow it alone" among 4,
        |world| with_certificates(world, (50 * DAY_US, 90 * DAY_US), 60 * DAY_US);
    far_forward_against_certificates: "3 of 4 say 60 days forward, certificates forbid it" among 4,
        |world| with_certificates(world, (-50 * DAY_US, 50 * DAY_US), 60 * DAY_US);
    the_owner_confirms: "the owner confirms the date on the screen" among 4,
        |world| owner_confirms(world, 60 * DAY_US);
    the_owner_confirms_another: "the owner confirms another date" among 4,
        |world| owner_confirms(world, 30 * DAY_US);
    below_the_floor: "a majority below the floor" among 4, |world| lie_for(world, 4, -3 * DAY_US, 40 * SECOND_US);
    two_against_two: "two against two" among 4, |world| lie_for(world, 2, HOUR_US, 40 * SECOND_US);
    silence: "silence" among 4, |world| silence_for(world, MINUTE_US);
    long_silence_with_a_chip: "14 h of silence, chip good" among 4, |world| silence_for(world, 14 * HOUR_US);
    long_silence_without_a_chip: "14 h of silence, no chip" among 4, |world| {
        world.chip.set_dead(true);
        silence_for(world, 14 * HOUR_US);
    };
    a_foreign_hand_alone: "CLOCK_REALTIME set by somebody else, nobody to ask" among 4, |world| {
        world.chip.set_dead(true);
        world.silence();
        world.clock.jump(HOUR_US);
        wait(world, MINUTE_US);
    };
    a_foreign_hand_and_a_chip: "CLOCK_REALTIME set by somebody else, a chip confirms the extrapolation" among 4, |world| {
        world.silence();
        world.clock.jump(-HOUR_US);
        wait(world, MINUTE_US);
    };
    a_foreign_hand_and_servers: "CLOCK_REALTIME set by somebody else, honest servers" among 4, |world| {
        world.chip.set_dead(true);
        world.lie(0, 0);
        world.clock.jump(HOUR_US);
        wait(world, 5 * SECOND_US);
    };
}
