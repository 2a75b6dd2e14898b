//! The whole status of the box: what the supervisor knows itself, and what the other programs last wrote.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use control::Status;
use control::status::{ChildStatus, Stamped};
use platform::time::BootClock;
use serde::de::DeserializeOwned;

use crate::children::Paths;

/// What the supervisor's own threads know of the box; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct OwnStatus(Arc<Mutex<Status>>);

impl OwnStatus {
    /// Changes it.
    pub fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Gives it as it is now.
    #[must_use]
    pub fn get(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Puts the status together.
#[derive(Debug)]
pub struct Gatherer {
    own: OwnStatus,
    pds: PathBuf,
    guard: PathBuf,
    run: PathBuf,
    clock: Arc<dyn BootClock>,
}

impl Gatherer {
    /// Takes the supervisor's own word and where the others write theirs.
    #[must_use]
    pub fn new(own: OwnStatus, paths: &Paths, clock: Arc<dyn BootClock>) -> Self {
        let (pds, guard) = (paths.run.join("pds/status.json"), paths.run.join("timeguard/status.json"));
        Self { own, pds, guard, run: paths.run.clone(), clock }
    }

    /// Gives the status; a program that says nothing for 15 s is silent.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.own.get();
        status.system.uptime_s = self.clock.boottime_ns() / 1_000_000_000;
        status.pds = self.fresh(&self.pds);
        status.time = self.fresh(&self.guard);
        for child in &mut status.system.children {
            // Names of others are no folders here.
            if ChildStatus::SHUT_IN.contains(&child.name.as_str()) {
                child.sandbox = control::sandbox::read(&self.run.join(&child.name), self.clock.boot_id());
            }
        }
        status
    }

    fn fresh<T: DeserializeOwned>(&self, path: &std::path::Path) -> Option<T> {
        let stamped: Stamped<T> = control::file::read(path).ok().flatten()?;
        stamped.is_fresh(self.clock.boot_id(), self.clock.boottime_ns()).then_some(stamped.status)
    }
}

#[cfg(test)]
mod tests {
    use control::PdsStatus;
    use control::status::ChildState;
    use platform::Gap;
    use platform::sim::SimClock;

    use super::*;

    #[test]
    fn a_program_that_is_not_shut_in_is_told_so_until_it_says_otherwise() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths { bin: "/bin".into(), run: root.path().into(), data: root.path().into() };
        let clock = Arc::new(SimClock::manual(1_795_401_296_000_000));
        let own = OwnStatus::default();
        let running = |name: &str| ChildStatus {
            name: name.to_owned(),
            state: ChildState::Running,
            ..ChildStatus::default()
        };
        own.change(|status| status.system.children = vec![running("panel"), running("udhcpc eth0")]);
        let gatherer = Gatherer::new(own, &paths, clock.clone());
        let loose =
            || gatherer.status().system.children.iter().map(ChildStatus::is_loose).collect::<Vec<_>>();
        assert_eq!(loose(), [true, false], "it has not said a word");
        let folder = root.path().join("panel");
        std::fs::create_dir(&folder).unwrap();
        control::SandboxReport::open(Some(&folder)).say(clock.boot_id(), &Gap::switched_off());
        assert_eq!(loose(), [true, false]);
        control::SandboxReport::open(Some(&folder)).say(clock.boot_id(), &[]);
        assert_eq!(loose(), [false, false]);
    }

    #[test]
    fn a_program_that_fell_silent_is_told_as_silence_and_not_as_its_last_word() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths { bin: "/bin".into(), run: root.path().into(), data: root.path().into() };
        let clock = Arc::new(SimClock::manual(1_795_401_296_000_000));
        let own = OwnStatus::default();
        own.change(|status| status.system.hostname = "perch".to_owned());
        let gatherer = Gatherer::new(own, &paths, clock.clone());
        assert_eq!(gatherer.status().pds, None, "nothing was written yet");
        let status = PdsStatus { accounts: 2, ..PdsStatus::default() };
        let stamped = Stamped { boot_id: clock.boot_id(), boottime_ns: clock.boottime_ns(), status };
        std::fs::create_dir(root.path().join("pds")).unwrap();
        control::file::replace(&root.path().join("pds/status.json"), &stamped).unwrap();
        let seen = gatherer.status();
        assert_eq!((seen.pds.unwrap().accounts, seen.system.hostname.as_str()), (2, "perch"));
        clock.advance(std::time::Duration::from_secs(16));
        assert_eq!(gatherer.status().pds, None);
    }
}
