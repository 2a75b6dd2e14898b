//! What the guard's process makes of honest, lying, silent, flapping and kissing servers.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use control::request::{Reply, Request};
use control::status::{SourceState, TimeState};
use platform::time::Untrusted;
use testbed::time_server::{Behaviour, HONEST};

use crate::daemons::{chrony, chrony_command, ntpsec_command};
use crate::servers::{certificate_host, time_server};
use crate::world::{DAY_US, NAMES, World};

/// A world with servers of our own on addresses 1 to 4, and the guard running.
fn world_of(behaviours: [Behaviour; 4]) -> World {
    let mut world = World::new(DAY_US);
    for (host, behaviour) in (1..).zip(behaviours) {
        time_server(world.address(host), world.utc, behaviour);
    }
    world.name_all();
    world.start("");
    world
}

#[test]
fn real_servers_are_trusted_soon_after_the_network_is_up() {
    let mut world = World::new(DAY_US);
    let _chronies: Vec<_> = (1..=4).map(|host| chrony(world.dir.path(), world.address(host), 0)).collect();
    world.start("");
    world.wait("no name leads anywhere", |status| status.state == TimeState::Unknown && !status.trusted);
    world.name_all();
    let began = Instant::now();
    assert_eq!(world.ask(&Request::NetworkUp), Reply::Done);
    world.wait("it is trusted", |status| status.trusted && status.state == TimeState::Synced);
    let took = began.elapsed();
    println!("trusted {} ms after network-up", took.as_millis());
    // 3 s is the promise; the rest is for a loaded machine.
    assert!(took < Duration::from_secs(8), "{took:?}");
    let status = world.status().unwrap();
    assert!(world.off_us(&status).unwrap().abs() < 2_000_000);
    println!("resident {} KiB in this build", resident_kib(world.pid()));
}

/// Reads how much memory a process holds.
fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ntpsec_agrees_with_three_chronies() {
    let mut world = World::new(DAY_US);
    // ntpd takes port 123 of all addresses for itself: it has a network of its own, and the others another port.
    let address = |host| Ipv4Addr::new(127, 0, 0, host);
    let mut servers = vec![ntpsec_command(world.dir.path(), address(1))];
    servers.extend((2..=4).map(|host| chrony_command(world.dir.path(), address(host), 1_123)));
    let hosts = ["127.0.0.1", "127.0.0.2:1123", "127.0.0.3:1123", "127.0.0.4:1123"].map(str::to_owned);
    world.start_in_own_network(&servers, &hosts);
    world.wait("all four agree", |status| {
        status.trusted && status.sources.iter().all(|source| source.answers == SourceState::Agrees)
    });
}

#[test]
fn one_chrony_that_lies_by_seconds_an_hour_or_years_changes_nothing() {
    for (round, ahead_s) in [5, -3_600, 3 * 31_557_600].into_iter().enumerate() {
        let mut world = World::new(DAY_US);
        let _honest: Vec<_> = (1..=3).map(|host| chrony(world.dir.path(), world.address(host), 0)).collect();
        let _liar = chrony(world.dir.path(), world.address(4), ahead_s);
        world.name_all();
        world.start("");
        world.wait("the liar is told apart", |status| {
            status.trusted && World::source(status, NAMES[3]) == SourceState::Disagrees
        });
        let status = world.status().unwrap();
        let off_us = world.off_us(&status).unwrap();
        assert!(off_us.abs() < 2_000_000, "round {round}: off by {off_us} us");
        assert!(status.error_bound_us.unwrap() < 1_000_000);
    }
}

#[test]
fn two_chronies_that_lie_together_are_never_believed() {
    let mut world = World::new(DAY_US);
    let honest = (1..=2).map(|host| chrony(world.dir.path(), world.address(host), 0));
    let _servers: Vec<_> =
        honest.chain((3..=4).map(|host| chrony(world.dir.path(), world.address(host), 3_600))).collect();
    world.name_all();
    world.start("");
    world.wait("all have spoken", |status| {
        status.sources.iter().all(|source| source.offset_us.is_some())
            && status.why_untrusted.as_ref().is_some_and(|why| why.contains("contradict"))
    });
    assert!(!world.status().unwrap().trusted);
    let (clock, _) = world.reader();
    assert!(matches!(clock.now().unwrap_err().why, Untrusted::Refused { .. }));
}

#[test]
fn a_silent_a_flapping_or_a_kissing_server_beside_three_honest_does_no_harm() {
    let faults = [Behaviour::Silent, Behaviour::Flaps, Behaviour::Kiss(*b"DENY"), Behaviour::Kiss(*b"RATE")];
    for fault in faults {
        let world = world_of([HONEST, HONEST, HONEST, fault]);
        world.wait("it is synced", |status| status.trusted && status.state == TimeState::Synced);
        if fault == Behaviour::Kiss(*b"DENY") {
            world.wait("it is left", |status| World::source(status, NAMES[3]) == SourceState::Refuses);
        }
        let off_us = world.off_us(&world.status().unwrap()).unwrap();
        assert!(off_us.abs() < 2_000_000, "{fault:?}: off by {off_us} us");
    }
}

#[test]
fn a_smearing_server_among_honest_ones_is_told_apart() {
    let smeared = Behaviour::Time { ahead_us: -400_000, leap: 0 };
    let world = world_of([HONEST, smeared, HONEST, HONEST]);
    world.wait("it is told apart", |status| {
        status.trusted && World::source(status, NAMES[1]) == SourceState::Disagrees
    });
}

#[test]
fn two_smearing_servers_of_five_do_not_bend_the_time() {
    // Two smear a leap second, each in its own way; DHCP's server is the fifth.
    let smeared = |ahead_us| Behaviour::Time { ahead_us, leap: 0 };
    // Three of five suffice near the last trusted time, not far ahead of it.
    let mut world = World::new(0);
    for (host, behaviour) in (1..).zip([HONEST, HONEST, smeared(-400_000), smeared(-700_000), HONEST]) {
        time_server(world.address(host), world.utc, behaviour);
    }
    world.name_all();
    world.start("");
    let servers = vec![world.address(5).to_string()];
    assert_eq!(world.ask(&Request::TimeServers { servers }), Reply::Done);
    world.wait("three agree against two", |status| {
        let apart = |source: &control::status::SourceStatus| source.answers == SourceState::Disagrees;
        status.trusted && status.sources.iter().filter(|source| apart(source)).count() == 2
    });
    let status = world.status().unwrap();
    assert!(world.off_us(&status).unwrap().abs() < 200_000 + 100_000, "{status:?}");
    assert_eq!(status.vote.map(|vote| (vote.agreeing, vote.voters)), Some((3, 5)));
}

#[test]
fn a_leap_second_passes_through_the_process() {
    /// 2026-12-31T24:00:00Z, microseconds.
    const YEAR_END_US: i64 = 1_798_761_600_000_000;
    /// How long before it the story begins.
    const BEFORE_US: i64 = 12_000_000;
    let mut world = World::new(0);
    world.set_floor(YEAR_END_US - DAY_US);
    let ahead_us = YEAR_END_US - BEFORE_US - world.utc.us();
    for host in 1..=4 {
        time_server(world.address(host), world.utc, Behaviour::Leaps { ahead_us, at_us: YEAR_END_US });
    }
    world.name_all();
    world.start("");
    // UTC as these servers have it: it repeats its last second.
    let true_us = || {
        let us = world.utc.us() + ahead_us;
        if us < YEAR_END_US { us } else { us - 1_000_000 }
    };
    let verdict = || {
        let word = control::file::read(&world.dir.path().join("run/verdict.json")).unwrap();
        match word {
            Some(control::verdict::Word::Trusted(verdict)) => verdict,
            other => panic!("no verdict: {other:?}"),
        }
    };
    world.wait("it is synced", |status| status.state == TimeState::Synced);
    assert!(verdict().error_bound_us >= 1_000_000, "the bound takes the coming second in");
    let past_us = YEAR_END_US + 2_000_000;
    world.wait("the leap is behind", |status| status.unix_us.is_some_and(|us| us.cast_signed() > past_us));
    world.wait("the bound is small again", |status| {
        status.state == TimeState::Synced && status.error_bound_us.is_some_and(|bound_us| bound_us < 500_000)
    });
    // What a reader would compute now from the verdict's own statement.
    let (verdict, (hands, now_us)) = (verdict(), (world.reader().1, true_us()));
    let told_us =
        verdict.unix_us_at(platform::time::BootClock::boottime_ns(hands.as_ref())).unwrap().cast_signed();
    // The reader's clock here is good to hundredths of a second.
    assert!(told_us.abs_diff(now_us) < 500_000, "off by {} us", told_us - now_us);
}

#[test]
fn a_resolver_that_sends_all_names_to_one_machine_gets_one_vote() {
    let mut world = World::new(DAY_US);
    time_server(world.address(1), world.utc, Behaviour::Time { ahead_us: 200_000_000, leap: 0 });
    for name in NAMES {
        world.zone.lock().unwrap().insert(name.to_owned(), world.address(1));
    }
    world.start("");
    world.wait("one is heard", |status| {
        status.sources.iter().filter(|source| source.offset_us.is_some()).count() == 1
            && status.why_untrusted.as_ref().is_some_and(|why| why.contains("Too few"))
    });
    assert!(!world.status().unwrap().trusted);
}

#[test]
fn servers_of_dhcp_have_one_vote_and_are_known_after_a_restart() {
    let mut world = world_of([HONEST, HONEST, HONEST, HONEST]);
    let lie = Behaviour::Time { ahead_us: 7_200_000_000, leap: 0 };
    let liars: Vec<String> = (5..=7)
        .map(|host| {
            time_server(world.address(host), world.utc, lie);
            world.address(host).to_string()
        })
        .collect();
    assert_eq!(world.ask(&Request::TimeServers { servers: liars.clone() }), Reply::Done);
    let told_apart = |status: &control::TimeStatus| {
        let given: Vec<_> = status.sources.iter().filter(|source| source.operator == "dhcp").collect();
        given.len() == 3 && status.trusted && given.iter().all(|liar| liar.answers == SourceState::Disagrees)
    };
    world.wait("all of them are out-voted", told_apart);
    world.kill();
    std::fs::remove_file(world.dir.path().join("run/status.json")).unwrap();
    world.start("");
    world.wait("they are asked again", told_apart);
}

#[test]
fn a_verdict_of_a_killed_guard_expires_and_a_foreign_hand_is_noticed() {
    let mut world = world_of([HONEST, HONEST, HONEST, HONEST]);
    world.wait("it is trusted", |status| status.trusted);
    let (clock, hands) = world.reader();
    let trusted = clock.now().unwrap();
    assert!(i64::try_from(trusted.unix_micros()).unwrap().abs_diff(world.utc.us()) < 2_000_000);
    // Somebody sets the clock between the verdict and the signature.
    for jump_us in [-600_000_000, 600_000_000, -3_000_000] {
        hands.jump_us.store(jump_us, Ordering::Relaxed);
        assert!(matches!(clock.now().unwrap_err().why, Untrusted::RealtimeDisagrees { .. }));
    }
    hands.jump_us.store(0, Ordering::Relaxed);
    world.kill();
    assert!(clock.now().is_ok(), "what was said holds for its 30 s");
    hands.later_ns.store(31_000_000_000, Ordering::Relaxed);
    assert!(matches!(clock.now().unwrap_err().why, Untrusted::Expired { .. }));
}

#[test]
fn the_last_trusted_time_is_saved_and_stops_who_would_turn_it_back() {
    let mut world = world_of([HONEST, HONEST, HONEST, HONEST]);
    world.wait("the floor is raised", |status| {
        i64::try_from(status.floor_us).unwrap() > world.utc.us() - 60_000_000
    });
    let saved = || std::fs::read_to_string(world.dir.path().join("data/saved.json")).unwrap();
    let began = Instant::now();
    while !saved().contains(&world.status().unwrap().floor_us.to_string()) {
        assert!(began.elapsed() < Duration::from_secs(20), "not saved: {}", saved());
        std::thread::sleep(Duration::from_millis(10));
    }
    world.kill();
    std::fs::remove_file(world.dir.path().join("run/status.json")).unwrap();
    for (host, name) in (11..).zip(NAMES) {
        time_server(world.address(host), world.utc, Behaviour::Time { ahead_us: -DAY_US, leap: 0 });
        world.zone.lock().unwrap().insert(name.to_owned(), world.address(host));
    }
    world.start("");
    world.wait("they are refused", |status| {
        status.why_untrusted.as_ref().is_some_and(|why| why.contains("passed already"))
    });
    assert!(!world.status().unwrap().trusted);
}

/// A box that comes out of a drawer after 60 days; the servers agree.
fn from_the_drawer(hosts: &str) -> World {
    let mut world = World::new(0);
    world.name_all();
    for host in 1..=4 {
        let later = Behaviour::Time { ahead_us: 60 * DAY_US, leap: 0 };
        time_server(world.address(host), world.utc, later);
    }
    let roots = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/root.pem");
    world.start(&format!("certificate_roots = \"{roots}\"\ncertificate_hosts = {hosts}"));
    world
}

#[test]
fn after_two_months_certificates_of_two_hosts_are_needed_and_suffice() {
    let hosts = ["long-one", "long-two"].map(|name| certificate_host(name).to_string());
    let began = Instant::now();
    let world = from_the_drawer(&format!("{hosts:?}"));
    // Nobody sets this machine's clock, so that only the state can say it.
    world.wait("it is synced", |status| status.state == TimeState::Synced);
    let took = began.elapsed();
    println!("trusted {} ms after the start, with certificates", took.as_millis());
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn after_two_months_with_bad_certificates_the_owner_decides() {
    let hosts = ["long-one", "forged", "expired"].map(|name| certificate_host(name).to_string());
    let world = from_the_drawer(&format!("{hosts:?}"));
    world.wait("the owner is asked", |status| status.asks_owner_us.is_some());
    let asks_us = world.status().unwrap().asks_owner_us.unwrap();
    assert!(!world.status().unwrap().trusted);
    let other = Request::AcceptTime { unix_us: asks_us - 86_400_000_000 };
    assert!(matches!(world.ask(&other), Reply::Refused { .. }));
    assert_eq!(world.ask(&Request::AcceptTime { unix_us: asks_us }), Reply::Done);
    world.wait("it is synced", |status| status.state == TimeState::Synced);
}

#[test]
fn the_era_after_2036_is_told_by_the_floor() {
    /// 2036-02-08T00:00:00Z, microseconds: a day after the 32 bits of seconds wrapped.
    const AFTER_US: i64 = 2_086_041_600_000_000;
    let mut world = World::new(DAY_US);
    let ahead_us = AFTER_US - world.utc.us();
    world.set_floor(AFTER_US - 3 * DAY_US);
    for host in 1..=4 {
        time_server(world.address(host), world.utc, Behaviour::Time { ahead_us, leap: 0 });
    }
    world.name_all();
    world.start("");
    world.wait("it is synced", |status| status.state == TimeState::Synced);
    let unix_us = i64::try_from(world.status().unwrap().unix_us.unwrap()).unwrap();
    assert!((AFTER_US..AFTER_US + 600_000_000).contains(&unix_us), "{unix_us}");
}

#[test]
fn the_guard_shuts_itself_in_and_says_so() {
    let world = world_of([HONEST; 4]);
    let text = std::fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    assert!(text.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])), "{text}");
    let said = std::fs::read_to_string(world.dir.path().join("run/sandbox.json")).unwrap();
    assert!(said.contains("\"gaps\":[]"), "{said}");
}
