//! The guard's own run of a scenario.

use platform::time::BootClock;
use timeguard::trial::{START_US, Scenario};

use crate::SPAN_US;
use crate::outcome::{Claim, Outcome};

/// Runs the policy in the scenario's world and watches what readers of its verdict get.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    let mut outcome = Outcome::default();
    let mut world = scenario.world();
    world.pass_unchecked(SPAN_US, &mut |world| {
        let claim = world.now().zip(world.error_us());
        let claim = claim.map(|(now, error_us)| Claim { error_us, bound_us: now.error_bound_us() });
        let clock_off_us = world.clock.realtime_us() - world.true_us();
        outcome.see(world.true_us() - START_US, clock_off_us, claim);
    });
    outcome
}
