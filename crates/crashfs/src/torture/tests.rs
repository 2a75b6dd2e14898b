//! The store on a disk that loses power: hundreds of states, and every planted fault noticed.

use super::{Fault, LOAD_STEPS_MIN, plant, record};

/// States of one recorded load.
const STATES: usize = 300;

/// Printed with each result; another one makes another load and other states.
const SEED: u64 = 20_261_123;

#[test]
fn every_promise_holds_in_every_state() {
    let recording = record(SEED, LOAD_STEPS_MIN, None).unwrap();
    let report = recording.judge(STATES).unwrap();
    println!("seed {SEED}: {report}");
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "seed {SEED}: {violations:#?}");
    assert!(report.distinct > STATES / 2, "seed {SEED}: {report}");
}

#[test]
fn every_planted_fault_is_noticed() {
    for fault in Fault::ALL {
        match plant(fault, SEED).unwrap() {
            Some(violation) => println!("seed {SEED}: {fault:?} noticed in {violation}"),
            None => panic!("seed {SEED}: {fault:?} was not noticed"),
        }
    }
}
