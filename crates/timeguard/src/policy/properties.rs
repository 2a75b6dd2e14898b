//! Seeded scenarios: whatever servers, network and crystal do, trusted time is true within its bound.

use control::status::TimeState;
use platform::sim::{Random, SimNtpFault};

use super::harness::{DAY_US, HOUR_US, SECOND_US, Setup, World};

/// Scenarios per run; a few seconds of work.
const SCENARIOS: u64 = 1_000;

/// What was drawn.
#[derive(Debug)]
struct Scenario {
    world: World,
    liars: usize,
    lie_us: i64,
    /// Trust can be reached in a minute: an honest majority with bearable delays, and evidence for the floor.
    solvable: bool,
    /// Round trips of honest servers are at most 150 ms.
    quick: bool,
}

fn draw(seed: u64) -> Scenario {
    let mut random = Random::new(seed);
    let liars = usize::try_from(random.up_to(2)).unwrap();
    let quick = random.percent(50);
    let lie_us = lie(&mut random);
    let collude = random.percent(70);
    let servers: Vec<SimNtpFault> = (0..4)
        .map(|index| {
            let mut fault = delays(&mut random, quick);
            if index < liars {
                fault.lie_us = if collude { lie_us } else { lie(&mut random) };
                if random.percent(20) {
                    fault.lie_rate_ppb = random.around_zero(500_000_000);
                }
            }
            fault
        })
        .collect();
    let losses = servers.iter().any(|fault| fault.loss_percent > 20);
    let slow = servers.iter().any(|fault| fault.out_us + fault.back_us + 2 * fault.jitter_us > 2_000_000);
    let chip = random.percent(40);
    let floor_behind_us = i64::try_from(random.up_to(400)).unwrap() * DAY_US;
    let mut world = World::new(Setup { servers, chip, floor_behind_us, seed, ..Setup::default() });
    world.clock.set_realtime_us(world.clock.true_us() + random.around_zero(20 * 366 * 86_400_000_000));
    world.clock.set_drift_ppb(random.around_zero(90_000));
    let chip_drift_ppb = random.around_zero(4_000);
    // The chip has run off since it was set, at the floor.
    world.chip.jump(floor_behind_us / 1_000_000_000 * chip_drift_ppb);
    world.chip.set_drift_ppb(chip_drift_ppb);
    if random.percent(25) {
        world.chip.stop();
    }
    let certificates = random.percent(70);
    world.certificates = certificates.then_some((-30 * DAY_US, 60 * DAY_US));
    let near_floor = floor_behind_us <= 30 * DAY_US;
    let solvable = liars <= 1 && !losses && !slow && (near_floor || certificates);
    Scenario { world, liars, lie_us, solvable, quick }
}

fn lie(random: &mut Random) -> i64 {
    let most_us = [2 * SECOND_US, 600 * SECOND_US, DAY_US, 20 * 366 * DAY_US];
    let most_us = most_us[usize::try_from(random.up_to(3)).unwrap()];
    random.around_zero(u64::try_from(most_us).unwrap())
}

fn delays(random: &mut Random, quick: bool) -> SimNtpFault {
    let (way_us, jitter_us, loss) = if quick { (60_000, 15_000, 5) } else { (1_000_000, 500_000, 40) };
    SimNtpFault {
        out_us: random.up_to(way_us),
        back_us: random.up_to(way_us),
        jitter_us: random.up_to(jitter_us),
        loss_percent: random.up_to(loss),
        root_distance_us: random.up_to(20_000),
        ..SimNtpFault::default()
    }
}

#[test]
fn the_true_error_never_exceeds_the_published_bound() {
    let (mut solvable, mut solved, mut trusted, mut quick_worst_us) = (0_u32, 0_u32, 0_u32, 0_u64);
    for seed in 0..SCENARIOS {
        let mut scenario = draw(seed);
        scenario.world.pass(60 * SECOND_US);
        if scenario.solvable {
            solvable += 1;
            solved += u32::from(scenario.world.now().is_some());
        }
        scenario.world.pass(10 * 60 * SECOND_US);
        trusted += u32::from(scenario.world.now().is_some());
        let majority = scenario.liars < 2 && scenario.world.guard.state() == TimeState::Synced;
        if let (true, true, Some(error_us)) = (scenario.quick, majority, scenario.world.error_us()) {
            quick_worst_us = quick_worst_us.max(error_us.unsigned_abs());
        }
    }
    println!(
        "{solved} of {solvable} solvable scenarios trusted in 60 s, {trusted} of {SCENARIOS} after 11 min"
    );
    println!("worst error with honest round trips of at most 150 ms: {quick_worst_us} us");
    assert!(solvable > 200 && solved * 100 >= solvable * 95, "{solved} of {solvable}");
    assert!(quick_worst_us <= 100_000, "{quick_worst_us} us");
}

#[test]
fn two_colluding_liars_of_four_are_never_believed() {
    for seed in 0..SCENARIOS / 4 {
        let mut scenario = draw(seed);
        // Lies that honest delays could explain are covered by the bound, and tested above.
        let lie_us = scenario.lie_us.signum().max(-1) * scenario.lie_us.abs().max(10 * SECOND_US);
        let lie_us = if lie_us == 0 { 10 * SECOND_US } else { lie_us };
        for (index, server) in scenario.world.servers.iter().enumerate() {
            let lie_us = if index < 2 { lie_us } else { 0 };
            server.set_fault(SimNtpFault { lie_us, lie_rate_ppb: 0, ..server.fault() });
        }
        let mut check = |world: &World| {
            assert!(world.guard.state() != TimeState::Synced, "seed {seed}: {world:?}");
            if let (Some(error_us), Some(now)) = (world.error_us(), world.now()) {
                assert!(error_us.unsigned_abs() <= now.error_bound_us(), "seed {seed}");
            }
        };
        scenario.world.pass_unchecked(HOUR_US, &mut check);
    }
}

#[test]
fn lies_that_begin_later_do_not_break_the_bound() {
    for seed in 0..SCENARIOS / 4 {
        let mut scenario = draw(seed);
        let mut random = Random::new(!seed);
        for _ in 0..10 {
            scenario.world.pass(i64::try_from(random.up_to(300)).unwrap() * SECOND_US);
            let index = usize::try_from(random.up_to(1)).unwrap();
            let server = &scenario.world.servers[index];
            let lie_us = if random.percent(50) { lie(&mut random) } else { 0 };
            server.set_fault(SimNtpFault { lie_us, ..server.fault() });
            if random.percent(20) {
                scenario.world.clock.jump(lie(&mut random));
            }
        }
    }
}
