//! `torture --states N --seed S`: the crash test of the store at length, and whether it notices planted faults.
//!
//! Ends with 1 when a promise is broken or a fault is not noticed, with 2 when the test itself could not run.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use crashfs::{Fault, TortureError, plant, torture};

/// States when the command line does not say.
const STATES: usize = 2_000;

/// Seed when the command line does not say; always the same, so that a failure is seen again.
const SEED: u64 = 1;

fn main() -> ExitCode {
    let Some((states, seed)) = arguments(std::env::args().skip(1)) else {
        say("usage: torture [--states N] [--seed S]");
        return ExitCode::from(2);
    };
    match run(states, seed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let mut reason: Option<&dyn std::error::Error> = Some(&error);
            while let Some(inner) = reason {
                say(&format!("error: {inner}"));
                reason = inner.source();
            }
            ExitCode::from(2)
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Option<(usize, u64)> {
    let (mut states, mut seed) = (STATES, SEED);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--states" => states = words.next()?.parse().ok()?,
            "--seed" => seed = words.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some((states, seed))
}

fn run(states: usize, seed: u64) -> Result<bool, TortureError> {
    let began = Instant::now();
    let report = torture(states, seed)?;
    say(&format!("seed {seed}: {report}"));
    for violation in &report.violations {
        say(&format!("VIOLATION {violation}"));
    }
    let mut caught = 0;
    for fault in Fault::ALL {
        match plant(fault, seed)? {
            Some(violation) => {
                caught += 1;
                say(&format!("planted {fault:?}: noticed in {violation}"));
            }
            None => say(&format!("planted {fault:?}: NOT NOTICED")),
        }
    }
    say(&format!(
        "torture: {} states ({} distinct), {} violations, {caught} of {} planted faults noticed, {:.1} s",
        report.states,
        report.distinct,
        report.violations.len(),
        Fault::ALL.len(),
        began.elapsed().as_secs_f64()
    ));
    Ok(report.violations.is_empty() && caught == Fault::ALL.len())
}

/// Prints a line; a reader that is gone is no reason to stop.
fn say(line: &str) {
    let written = writeln!(io::stdout().lock(), "{line}");
    drop(written);
}
