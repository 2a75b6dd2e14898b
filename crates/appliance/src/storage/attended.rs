//! Runs the storage part with somebody before the box who always says the same, until something is reached.
//!
//! For tests and probes: the box itself asks its owner.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use control::PlacementStatus;
use platform::volumes::Volumes;

use super::driver::{Answer, Config, Platform, Writers, run};

/// What such a run works with.
#[derive(Debug)]
pub struct Attended {
    /// The hands.
    pub volumes: Box<dyn Volumes>,
    /// Who writes to the data.
    pub writers: Box<dyn Writers>,
    /// Every question is answered yes; otherwise none is answered.
    pub says_yes: bool,
    /// What may be set.
    pub config: Config,
}

impl Attended {
    /// Runs until `ends` is true of what is reported, and gives that. The writers have ended then, and nothing is mounted.
    pub fn run_until(self, ends: impl Fn(&PlacementStatus) -> bool + Send + 'static) -> PlacementStatus {
        let off = Arc::new(AtomicBool::new(false));
        let last = Arc::new(Mutex::new(PlacementStatus::default()));
        let (answers, taken) = mpsc::channel();
        let (reached, reported, says_yes) = (Arc::clone(&off), Arc::clone(&last), self.says_yes);
        let report = move |status: &PlacementStatus| {
            if reached.load(Ordering::Relaxed) {
                return;
            }
            if let Some(question) = status.question.as_ref().filter(|_| says_yes) {
                // Whoever asked is gone only when the run has ended.
                let _sent = answers.send(Answer { question: question.id, yes: true });
            }
            reported.lock().unwrap_or_else(PoisonError::into_inner).clone_from(status);
            reached.store(ends(status), Ordering::Relaxed);
        };
        let platform = Platform {
            volumes: self.volumes,
            writers: self.writers,
            answers: taken,
            go_on: Box::new(|| true),
            report: Box::new(report),
        };
        run(&self.config, platform, &off);
        last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
