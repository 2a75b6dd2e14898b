//! Seeded scenarios for whatever keeps a clock: the policy in a simulated world, and other programs under a virtual clock
//! (`cargo xtask bench --only clocks`). One description serves both, so that they are compared on the same.

mod world;

use platform::sim::{Random, SimNtpFault, SimNtpServer};

pub use world::{DAY_US, HOUR_US, SECOND_US, START_US, Setup, World};

use crate::policy::FAR_OVER_FLOOR_US;

/// Servers of a scenario.
const SERVERS: usize = 4;

/// What was drawn for a seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it came from.
    pub seed: u64,
    /// How each server behaves; the liars come first.
    pub servers: Vec<SimNtpFault>,
    /// How many lie.
    pub liars: usize,
    /// The lie of those that collude, microseconds.
    pub lie_us: i64,
    /// The chip, when there is one.
    pub chip: Option<Chip>,
    /// How long ago the program was built and the time last saved, microseconds.
    pub floor_behind_us: i64,
    /// CLOCK_REALTIME minus true UTC at the start, microseconds.
    pub clock_off_us: i64,
    /// How fast the processor's crystal runs off, parts per billion.
    pub drift_ppb: i64,
    /// Hosts with certificates can be reached.
    pub certificates: bool,
    /// Trust can be reached: at least three of four are honest, however slow and lossy the way to them, and there is what
    /// the policy asks for besides: a floor of less than 30 days ago, certificates, or a chip that runs.
    pub solvable: bool,
    /// Round trips of honest servers are at most 150 ms.
    pub quick: bool,
}

/// How the lies of a scenario go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    /// All four are honest.
    None,
    /// One lies.
    One,
    /// Two lie, each something else.
    Apart,
    /// Two tell the same lie.
    Together,
}

/// A clock chip that was set at the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chip {
    /// How fast it runs off, parts per billion.
    pub drift_ppb: i64,
    /// Its battery died.
    pub stopped: bool,
}

impl Scenario {
    /// Draws the scenario of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let liars = usize::try_from(random.up_to(2)).unwrap_or_default();
        let quick = random.percent(50);
        let lie_us = draw_lie(&mut random);
        let collude = random.percent(70);
        let servers: Vec<SimNtpFault> = (0..SERVERS)
            .map(|index| {
                let mut fault = draw_delays(&mut random, quick);
                if index < liars {
                    fault.lie_us = if collude { lie_us } else { draw_lie(&mut random) };
                    if random.percent(20) {
                        fault.lie_rate_ppb = random.around_zero(500_000_000);
                    }
                }
                fault
            })
            .collect();
        let has_chip = random.percent(40);
        let floor_behind_us = i64::try_from(random.up_to(400)).unwrap_or_default() * DAY_US;
        let clock_off_us = random.around_zero(20 * 366 * 86_400_000_000);
        let drift_ppb = random.around_zero(90_000);
        let chip_drift_ppb = random.around_zero(4_000);
        let chip = Chip { drift_ppb: chip_drift_ppb, stopped: random.percent(25) };
        let certificates = random.percent(70);
        let chip = has_chip.then_some(chip);
        let near_floor = floor_behind_us < FAR_OVER_FLOOR_US;
        let chip_runs = chip.is_some_and(|chip| !chip.stopped);
        let solvable = liars <= 1 && (near_floor || certificates || chip_runs);
        Self {
            seed,
            servers,
            liars,
            lie_us,
            chip,
            floor_behind_us,
            clock_off_us,
            drift_ppb,
            certificates,
            solvable,
            quick,
        }
    }

    /// Gives how the lies go together.
    #[must_use]
    pub fn lies(&self) -> Lies {
        match (self.liars, self.servers.as_slice()) {
            (0, _) => Lies::None,
            (1, _) => Lies::One,
            (_, [one, other, ..]) if (one.lie_us, one.lie_rate_ppb) == (other.lie_us, other.lie_rate_ppb) => {
                Lies::Together
            }
            _ => Lies::Apart,
        }
    }

    /// Builds the servers; the same questions to them meet the same delays and losses, whoever asks.
    #[must_use]
    pub fn sim_servers(&self) -> Vec<SimNtpServer> {
        world::sim_servers(self.servers.clone(), self.seed)
    }

    /// Builds the policy's world of it.
    #[must_use]
    pub fn world(&self) -> World {
        let mut world = World::new(Setup {
            servers: self.servers.clone(),
            chip: self.chip.is_some(),
            floor_behind_us: self.floor_behind_us,
            seed: self.seed,
            ..Setup::default()
        });
        world.clock.set_realtime_us(world.clock.true_us() + self.clock_off_us);
        world.clock.set_drift_ppb(self.drift_ppb);
        if let Some(chip) = self.chip {
            world.chip.jump(self.chip_off_us());
            world.chip.set_drift_ppb(chip.drift_ppb);
            if chip.stopped {
                world.chip.stop();
            }
        }
        world.certificates = self.certificates.then_some((-30 * DAY_US, 60 * DAY_US));
        world
    }

    /// Gives how far the chip has run off since it was set, microseconds.
    #[must_use]
    pub fn chip_off_us(&self) -> i64 {
        self.chip.map_or(0, |chip| self.floor_behind_us / 1_000_000_000 * chip.drift_ppb)
    }
}

/// Draws how far a liar's time is off: seconds, minutes, days or years, microseconds.
pub fn draw_lie(random: &mut Random) -> i64 {
    let most_us = match random.up_to(3) {
        0 => 2 * SECOND_US,
        1 => 600 * SECOND_US,
        2 => DAY_US,
        _ => 20 * 366 * DAY_US,
    };
    random.around_zero(most_us.unsigned_abs())
}

fn draw_delays(random: &mut Random, quick: bool) -> SimNtpFault {
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
