//! The simulations keep what they promise, since the tests of others stand on them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::time::BootClock;
use crate::{Button, Disk, Frame, Power, PowerRequest, Rtc, Screen};

const NOW_US: u64 = 1_795_401_296_000_000;

#[test]
fn a_seed_fixes_the_chance_of_a_server() {
    let answers = |seed| {
        let server = SimNtpServer::new(SimNtpFault { loss_percent: 30, ..SimNtpFault::default() }, seed);
        (0..50).map(|i| server.ask(i * 1_000_000)).collect::<Vec<_>>()
    };
    assert_eq!(answers(7), answers(7));
    assert_ne!(answers(7), answers(8));
    assert!(answers(7).contains(&SimNtpReply::Silence));
}

#[test]
fn an_honest_server_is_within_half_its_round_trip() {
    let server = SimNtpServer::new(
        SimNtpFault { out_us: 5_000, back_us: 400_000, jitter_us: 100_000, ..SimNtpFault::default() },
        1,
    );
    for i in 0..200 {
        let asked_us = i * 64_000_000;
        let SimNtpReply::Time { server_us, after, .. } = server.ask(asked_us) else { panic!("it answers") };
        let round_trip = i64::try_from(after.as_micros()).unwrap();
        let middle_us = asked_us + round_trip / 2;
        assert!((server_us - middle_us).abs() <= round_trip / 2 + 1);
    }
}

#[test]
fn a_lie_grows_at_its_rate() {
    let fault =
        SimNtpFault { lie_us: 1_000, lie_rate_ppb: 1_000_000, jitter_us: 0, ..SimNtpFault::default() };
    let server = SimNtpServer::new(fault, 1);
    let lie = |at_us: i64| match server.ask(at_us) {
        SimNtpReply::Time { server_us, .. } => server_us - at_us - 10_000,
        other => panic!("{other:?}"),
    };
    assert_eq!(lie(5_000_000), 1_000);
    assert_eq!(lie(15_000_000), 11_000);
    let kiss = SimNtpFault { kiss: Some(*b"DENY"), ..SimNtpFault::default() };
    server.set_fault(kiss);
    assert!(matches!(server.ask(0), SimNtpReply::Kiss { code, .. } if &code == b"DENY"));
}

#[test]
fn a_chip_drifts_stops_and_dies() {
    let clock = Arc::new(SimClock::manual(NOW_US));
    let chip = SimRtc::new(clock.clone());
    let mut rtc = chip.clone();
    chip.set_drift_ppb(2_000);
    clock.advance(Duration::from_secs(1_000_000));
    let off_us = rtc.read().unwrap().unix_us - clock.true_us();
    assert_eq!(off_us, 2_000_000);
    rtc.set(clock.true_us()).unwrap();
    assert_eq!(rtc.read().unwrap().unix_us, clock.true_us());
    chip.stop();
    let reading = rtc.read().unwrap();
    assert!(reading.stopped && reading.unix_us < clock.true_us());
    chip.set_dead(true);
    assert!(rtc.read().is_err() && rtc.set(0).is_err());
    assert_eq!(chip.sets(), 1);
}

#[test]
fn a_clock_over_a_host_runs_with_it_and_keeps_its_faults() {
    let host = Arc::new(SimClock::manual(NOW_US));
    let clock = SimClock::over(host.clone());
    clock.set_realtime_us(0);
    clock.set_drift_ppb(1_000_000);
    host.advance(Duration::from_secs(10));
    assert_eq!(clock.realtime_us(), 10_010_000);
    assert_eq!(clock.true_us(), i64::try_from(NOW_US).unwrap() + 10_000_000);
    assert_eq!(clock.boottime_ns() - host.boottime_ns(), 10_000_000);
    assert_eq!(clock.boot_id(), host.boot_id());
}

#[test]
fn a_disk_is_pulled_plugged_and_full() {
    let disk = SimDisk::default();
    let free = disk.space().unwrap().free_bytes;
    assert!(free > 0 && disk.facts().is_some());
    disk.set_full(true);
    assert_eq!(disk.space().unwrap().free_bytes, 0);
    disk.pull();
    assert!(!disk.is_present() && disk.facts().is_none() && disk.space().is_err());
    disk.plug();
    disk.set_full(false);
    assert_eq!(disk.space().unwrap().free_bytes, free);
}

#[test]
fn a_screen_keeps_its_frames_and_fails_on_command() {
    let view = SimScreen::new();
    let mut screen = view.clone();
    let mut frame = Frame::new();
    for x in 0..100 {
        frame.set(x, 0, true);
        screen.show(&frame).unwrap();
    }
    assert_eq!((view.shown(), view.frames().len()), (100, 64));
    assert_eq!(view.last(), Some(frame.clone()));
    screen.set_lit(false).unwrap();
    assert!(!view.is_lit());
    view.set_broken(true);
    assert!(screen.show(&frame).is_err());
}

#[test]
fn a_press_is_two_edges_and_power_waits() {
    let hand = SimButton::new();
    let mut button = hand.clone();
    hand.press(1_000, Duration::from_nanos(500));
    let edges: Vec<_> = std::iter::from_fn(|| button.next_edge().unwrap()).collect();
    assert_eq!(
        edges.iter().map(|e| (e.down, e.boottime_ns)).collect::<Vec<_>>(),
        [(true, 1_000), (false, 1_500)]
    );
    assert!(!button.is_down().unwrap() && SimButton::held().is_down().unwrap());
    let switch = SimPower::default();
    switch.clone().request(PowerRequest::Restart).unwrap();
    assert_eq!(switch.requests(), [PowerRequest::Restart]);
}
