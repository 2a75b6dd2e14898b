//! Decides which of the box's programs run, when a dead one is started again, and how the box is switched off.
//!
//! A pure state machine: what happened and the time go in, what to do comes out. It starts nothing itself and waits for
//! nothing: a child that hangs costs the others nothing. The watchdog is fed on this machine's own ticks alone, never on
//! the health of a child, the network, the time or a disk: a restart would cure none of these, and a box that restarts
//! because its router is off is worse than one that waits.

use control::status::{ChildState, ChildStatus};
use platform::PowerRequest;
use platform::process::{Exit, ProcessId};

/// The wait before a child that had run well is started again, milliseconds: short enough that nobody notices, long
/// enough that its sockets are closed.
pub const RESTART_FIRST_MS: u64 = 250;

/// The longest wait between two starts, milliseconds: a person who has mended something should see it work within a
/// minute, and a start a minute costs nothing.
pub const RESTART_LONGEST_MS: u64 = 60_000;

/// A child that ran this long, in milliseconds, had started well: its next end counts as the first.
pub const RAN_WELL_MS: u64 = 60_000;

/// So many ends without a good run in between are a crash loop, which the screen shows. With the waits above it takes
/// about four seconds to get here.
pub const LOOP_ENDS: u32 = 5;

/// The exit code by which our programs say that their settings are refused: starting again soon cannot help.
pub const REFUSED: i32 = 2;

/// Time between two feedings of the watchdog, milliseconds: a tenth of its life (`WATCHDOG_LIFE_S`).
pub const FEED_EVERY_MS: u64 = 2_000;

/// How long the watchdog waits before it resets the machine, seconds. Longer than any stall of a loaded Zero 2 W, and
/// short enough that nobody pulls the plug first.
pub const WATCHDOG_LIFE_S: u32 = 20;

/// How long the data may take to be unmounted at the end, milliseconds: what a slow card needs to write its cache out.
pub const CLOSE_DATA_MS: u64 = 15_000;

/// How long the whole of switching off may take, milliseconds; then the power is cut whatever still runs, since the
/// owner will pull the plug.
pub const SHUTDOWN_MS: u64 = 60_000;

/// What a child is for, in the order in which they are ended: what needs others goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serves people: the PDS and the panel.
    Service,
    /// Keeps the time.
    Time,
    /// Keeps the network up.
    Network,
}

/// The stages in the order in which they end.
const STAGES: [Stage; 3] = [Stage::Service, Stage::Time, Stage::Network];

/// What the policy knows of a child beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name, such as `pds` or `udhcpc eth0`.
    pub name: String,
    /// When it is ended.
    pub stage: Stage,
    /// Whether it runs only while the data is there.
    pub needs_data: bool,
    /// Whether it is started anew when the data comes: who shut itself in before knows only the folders that were there.
    pub renewed_by_data: bool,
    /// Whether it runs in safe mode.
    pub in_safe_mode: bool,
    /// How long it may take to end in order before it is killed, milliseconds.
    pub end_within_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A child is to be looked after from now on (an interface was plugged in).
    Add(Plan),
    /// A child is to be ended and forgotten (an interface is gone).
    Remove(String),
    /// The start that was asked for worked.
    Started(String, ProcessId),
    /// The start that was asked for failed.
    StartFailed(String, String),
    /// A process ended. The last line that it said, if any, tells why.
    Exited(ProcessId, Exit, Option<String>),
    /// The data can be used, or can no longer be.
    Data(bool),
    /// The disk with the data was pulled: who used it has nothing left to save and is ended at once.
    DataTorn,
    /// The data is unmounted.
    DataClosed,
    /// The machine is to restart or to go off.
    Power(PowerRequest),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this child; answer with `Started` or `StartFailed`.
    Start(String),
    /// Ask this process to end.
    Terminate(ProcessId),
    /// End this process and all that it started.
    Kill(ProcessId),
    /// Feed the watchdog.
    Feed,
    /// Unmount the data; answer with `DataClosed`.
    CloseData,
    /// Carry out what was asked of the machine.
    Power(PowerRequest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Not wanted.
    Idle,
    /// Wanted, and started at this time.
    Due { at_ms: u64 },
    /// The driver was told to start it.
    Starting,
    /// It runs.
    Runs { pid: ProcessId, since_ms: u64 },
    /// It was asked to end.
    Ends { pid: ProcessId, kill_at_ms: u64, killed: bool },
}

#[derive(Clone, Debug)]
struct Child {
    plan: Plan,
    life: Life,
    /// Ends since the last good run.
    ends: u32,
    /// Starts after the first one.
    restarts: u64,
    why: Option<String>,
    removed: bool,
}

/// Where the box is on its way off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Ending { request: PowerRequest, stage: usize, give_up_ms: u64 },
    Closing { request: PowerRequest, give_up_ms: u64 },
    Off,
}

/// The supervisor's memory.
#[derive(Debug)]
pub struct Supervisor {
    children: Vec<Child>,
    phase: Phase,
    data: bool,
    safe_mode: Option<String>,
    fed_ms: Option<u64>,
}

impl Supervisor {
    /// Takes the children over. `safe_mode` says why only the most needed ones run, if so.
    #[must_use]
    pub fn new(plans: Vec<Plan>, safe_mode: Option<String>) -> Self {
        let children = plans.into_iter().map(Child::new).collect();
        Self { children, phase: Phase::Running, data: false, safe_mode, fed_ms: None }
    }

    /// Takes what happened at `now_ms` (of any steady clock) and says what to do, in this order.
    #[must_use]
    pub fn handle(&mut self, input: Input, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Tick => {}
            Input::Add(plan) => self.add(plan),
            Input::Remove(name) => {
                if let Some(child) = self.find(&name) {
                    child.removed = true;
                }
            }
            Input::Started(name, pid) => {
                if let Some(child) = self.find(&name) {
                    child.life = Life::Runs { pid, since_ms: now_ms };
                } else {
                    actions.push(Action::Kill(pid));
                }
            }
            Input::StartFailed(name, why) => {
                if let Some(child) = self.find(&name) {
                    child.ended(why, false, now_ms);
                }
            }
            Input::Exited(pid, exit, said) => self.exited(pid, exit, said, now_ms),
            Input::Data(there) => self.data_changed(there, now_ms, &mut actions),
            Input::DataTorn => self.data_torn(now_ms, &mut actions),
            Input::DataClosed => {
                self.data = false;
                if let Phase::Closing { request, .. } = self.phase {
                    self.phase = Phase::Off;
                    actions.push(Action::Power(request));
                }
            }
            Input::Power(request) => {
                // A second wish does not start the way off anew.
                if self.phase == Phase::Running {
                    let give_up_ms = now_ms.saturating_add(SHUTDOWN_MS);
                    self.phase = Phase::Ending { request, stage: 0, give_up_ms };
                }
            }
        }
        self.settle(now_ms, &mut actions);
        self.go_off(now_ms, &mut actions);
        // Fed to the last: a way off that hangs ends by its own deadline, and after `Power` the watchdog is what is left.
        let hungry = self.fed_ms.is_none_or(|fed_ms| now_ms.saturating_sub(fed_ms) >= FEED_EVERY_MS);
        if self.phase != Phase::Off && hungry {
            self.fed_ms = Some(now_ms);
            actions.push(Action::Feed);
        }
        actions
    }

    /// Tells how each child is.
    #[must_use]
    pub fn report(&self, now_ms: u64) -> Vec<ChildStatus> {
        self.children.iter().map(|child| child.status(now_ms)).collect()
    }

    /// Says why only the most needed children run, if so.
    #[must_use]
    pub fn safe_mode(&self) -> Option<&str> {
        self.safe_mode.as_deref()
    }

    /// Tells whether the box is on its way off.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Tells whether a program that needs the data runs.
    #[must_use]
    pub fn uses_data(&self) -> bool {
        let uses =
            |child: &Child| child.plan.needs_data && (child.pid().is_some() || child.life == Life::Starting);
        self.children.iter().any(uses)
    }

    /// Names the child with this process.
    #[must_use]
    pub fn name_of(&self, pid: ProcessId) -> Option<&str> {
        self.children.iter().find(|child| child.pid() == Some(pid)).map(|child| child.plan.name.as_str())
    }

    fn find(&mut self, name: &str) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.plan.name == name)
    }

    fn add(&mut self, plan: Plan) {
        match self.find(&plan.name) {
            Some(child) => child.removed = false,
            None => self.children.push(Child::new(plan)),
        }
    }

    fn exited(&mut self, pid: ProcessId, exit: Exit, said: Option<String>, now_ms: u64) {
        let Some(child) = self.children.iter_mut().find(|child| child.pid() == Some(pid)) else { return };
        if let Life::Ends { .. } = child.life {
            child.life = Life::Idle;
            return;
        }
        let why = match said {
            Some(said) => format!("{exit}: {said}"),
            None => exit.to_string(),
        };
        child.ended(why, exit == Exit::Code(REFUSED), now_ms);
    }

    fn data_changed(&mut self, there: bool, now_ms: u64, actions: &mut Vec<Action>) {
        let came = there && !self.data;
        self.data = there;
        for child in self.children.iter_mut().filter(|child| came && child.plan.renewed_by_data) {
            if let Life::Runs { pid, .. } = child.life {
                let kill_at_ms = now_ms.saturating_add(child.plan.end_within_ms);
                child.life = Life::Ends { pid, kill_at_ms, killed: false };
                actions.push(Action::Terminate(pid));
            }
        }
    }

    fn data_torn(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.data = false;
        for child in self.children.iter_mut().filter(|child| child.plan.needs_data) {
            if let Some(pid) = child.pid() {
                child.life = Life::Ends { pid, kill_at_ms: now_ms, killed: true };
                actions.push(Action::Kill(pid));
            }
        }
    }

    fn wants(&self, child: &Child) -> bool {
        let stage_ends = match self.phase {
            Phase::Running => false,
            Phase::Ending { stage, .. } => {
                STAGES.iter().position(|of| *of == child.plan.stage).is_none_or(|of| of <= stage)
            }
            Phase::Closing { .. } | Phase::Off => true,
        };
        !child.removed
            && !stage_ends
            && (self.data || !child.plan.needs_data)
            && (self.safe_mode.is_none() || child.plan.in_safe_mode)
    }

    /// Brings each child nearer to what is wanted of it.
    fn settle(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let wanted: Vec<bool> = self.children.iter().map(|child| self.wants(child)).collect();
        let may_start = self.phase == Phase::Running;
        for (child, wanted) in self.children.iter_mut().zip(wanted) {
            child.settle(wanted, may_start, now_ms, actions);
        }
        self.children.retain(|child| !(child.removed && child.life == Life::Idle));
    }

    /// Goes on with switching off: stage after stage, then the data, then the power.
    fn go_off(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        while let Phase::Ending { request, stage, give_up_ms } = self.phase {
            let late = now_ms >= give_up_ms;
            let ends = |child: &Child| STAGES.get(stage) == Some(&child.plan.stage) && child.pid().is_some();
            if self.children.iter().any(ends) && !late {
                return;
            }
            if stage + 1 < STAGES.len() && !late {
                self.phase = Phase::Ending { request, stage: stage + 1, give_up_ms };
                self.settle(now_ms, actions);
                continue;
            }
            // A close that hangs must not keep the box on: it has a deadline of its own.
            let give_up_ms = now_ms.saturating_add(CLOSE_DATA_MS);
            self.phase = Phase::Closing { request, give_up_ms };
            actions.push(Action::CloseData);
        }
        if let Phase::Closing { request, give_up_ms } = self.phase
            && now_ms >= give_up_ms
        {
            self.phase = Phase::Off;
            actions.push(Action::Power(request));
        }
    }
}

impl Child {
    fn new(plan: Plan) -> Self {
        Self { plan, life: Life::Idle, ends: 0, restarts: 0, why: None, removed: false }
    }

    fn pid(&self) -> Option<ProcessId> {
        match self.life {
            Life::Runs { pid, .. } | Life::Ends { pid, .. } => Some(pid),
            Life::Idle | Life::Due { .. } | Life::Starting => None,
        }
    }

    /// It ended, or could not be started, without being asked to.
    fn ended(&mut self, why: String, refused: bool, now_ms: u64) {
        let ran_ms = match self.life {
            Life::Runs { since_ms, .. } => now_ms.saturating_sub(since_ms),
            _ => 0,
        };
        self.ends = if ran_ms >= RAN_WELL_MS { 1 } else { self.ends.saturating_add(1) };
        self.why = Some(why);
        self.restarts = self.restarts.saturating_add(1);
        let wait_ms = if refused { RESTART_LONGEST_MS } else { wait_ms(self.ends) };
        self.life = Life::Due { at_ms: now_ms.saturating_add(wait_ms) };
    }

    fn settle(&mut self, wanted: bool, may_start: bool, now_ms: u64, actions: &mut Vec<Action>) {
        match self.life {
            Life::Idle if wanted && may_start => {
                self.life = Life::Starting;
                actions.push(Action::Start(self.plan.name.clone()));
            }
            Life::Due { at_ms } if wanted && may_start && now_ms >= at_ms => {
                self.life = Life::Starting;
                actions.push(Action::Start(self.plan.name.clone()));
            }
            Life::Due { .. } if !wanted => self.life = Life::Idle,
            Life::Runs { pid, .. } if !wanted => {
                let kill_at_ms = now_ms.saturating_add(self.plan.end_within_ms);
                self.life = Life::Ends { pid, kill_at_ms, killed: false };
                actions.push(Action::Terminate(pid));
            }
            Life::Ends { pid, kill_at_ms, killed: false } if now_ms >= kill_at_ms => {
                self.life = Life::Ends { pid, kill_at_ms, killed: true };
                actions.push(Action::Kill(pid));
            }
            Life::Runs { since_ms, .. } if now_ms.saturating_sub(since_ms) >= RAN_WELL_MS => {
                self.ends = 0;
                self.why = None;
            }
            Life::Idle | Life::Due { .. } | Life::Starting | Life::Runs { .. } | Life::Ends { .. } => {}
        }
    }

    fn status(&self, now_ms: u64) -> ChildStatus {
        let (state, next_start_s) = match self.life {
            Life::Idle => (ChildState::Resting, None),
            Life::Due { at_ms } => {
                let state = if self.ends >= LOOP_ENDS { ChildState::Failing } else { ChildState::Starting };
                (state, Some(at_ms.saturating_sub(now_ms).div_ceil(1_000)))
            }
            Life::Starting => (ChildState::Starting, None),
            // Until it has run well a child in a crash loop is not called well.
            Life::Runs { .. } if self.ends >= LOOP_ENDS => (ChildState::Failing, None),
            Life::Runs { .. } => (ChildState::Running, None),
            Life::Ends { .. } => (ChildState::Ending, None),
        };
        ChildStatus {
            name: self.plan.name.clone(),
            state,
            restarts: self.restarts,
            why: self.why.clone(),
            next_start_s,
            // The gatherer knows.
            sandbox: None,
        }
    }
}

/// The wait before the next start after so many ends: doubled each time, up to the longest.
fn wait_ms(ends: u32) -> u64 {
    let doublings = ends.saturating_sub(1).min(16);
    (RESTART_FIRST_MS << doublings).min(RESTART_LONGEST_MS)
}
