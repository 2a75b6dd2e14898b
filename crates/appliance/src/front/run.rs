//! The screen's thread: gathers what each part says, lets the policy choose, draws, and hands picture and wishes on.
//!
//! A thread of its own, since a bus that hangs holds whoever waits for it, and nothing else may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use control::Status;
use platform::{Button, Frame, Led, Screen};

use super::gesture::Gestures;
use super::{Desk, Front, Hand, Wish};
use crate::screen::troubles;

/// How often the button is read: edges carry their own time, so this only delays what they do.
const LOOK: Duration = Duration::from_millis(50);

/// How often the screen is drawn anew: a press is shown at once, everything else within this time.
const DRAW: Duration = Duration::from_millis(250);

/// How long a screen that failed is left alone before it is tried again: a loose plug is pushed back by hand.
const RETRY: Duration = Duration::from_secs(10);

/// Most edges that are taken in one look; a line that flutters must not hold the thread.
const EDGES_MAX: usize = 64;

/// The status and the frame that was drawn from it.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// What each process says.
    pub status: Status,
    /// What the screen shows.
    pub frame: Frame,
}

/// A press of the simulated button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// Shorter than a second.
    Short,
    /// Held for a second or two.
    Long,
}

/// What the thread is given.
pub struct Display {
    /// Asks every part for its status.
    pub gather: Box<dyn FnMut() -> Status + Send>,
    /// The screen, when there is one.
    pub screen: Option<Box<dyn Screen>>,
    /// The button, when there is one.
    pub button: Option<Box<dyn Button>>,
    /// The light, when there is one: on while all is well, off while something is wrong.
    pub led: Option<Box<dyn Led>>,
    /// Where status and picture go.
    pub show: Box<dyn FnMut(Live) + Send>,
    /// Presses of the simulated button.
    pub presses: Receiver<Press>,
    /// What waits for the button.
    pub desk: Arc<Desk>,
    /// Where wishes go; it must not wait.
    pub wish: Box<dyn FnMut(Wish) + Send>,
    /// How long the screen is lit after the last press, milliseconds; `None` never rests.
    pub blank_after_ms: Option<u64>,
    /// CLOCK_BOOTTIME in nanoseconds: edges carry it.
    pub boottime_ns: Box<dyn Fn() -> u64 + Send>,
}

impl std::fmt::Debug for Display {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Display")
            .field("screen", &self.screen)
            .field("button", &self.button)
            .finish_non_exhaustive()
    }
}

impl Display {
    /// Draws until `stop` is set, or nobody is left who could press.
    pub fn run(mut self, stop: &AtomicBool) {
        let held = self.button.as_mut().is_some_and(|button| button.is_down().unwrap_or(false));
        let mut gestures = Gestures::new(held);
        let mut front = Front::new(self.desk.now_ms(), self.blank_after_ms, self.screen.is_some());
        let mut device = Device { broken_since: None, lit: None };
        let mut drawn: Option<Instant> = None;
        let look = if self.button.is_some() { LOOK } else { DRAW };
        self.step(&mut front, &mut device, Hand::Nothing);
        while !stop.load(Ordering::Relaxed) {
            let pressed = match self.presses.recv_timeout(look) {
                Ok(Press::Short) => vec![Hand::Short],
                Ok(Press::Long) => vec![Hand::Released(super::gesture::HOLD_MS)],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut hands = self.hands(&mut gestures);
            hands.extend(pressed);
            let due = drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW);
            if hands.is_empty() && due {
                hands.push(Hand::Nothing);
            }
            for hand in hands {
                drawn = Some(Instant::now());
                self.step(&mut front, &mut device, hand);
            }
        }
        device.goodbye(self.screen.as_mut());
    }

    /// What the hand did since the last look.
    fn hands(&mut self, gestures: &mut Gestures) -> Vec<Hand> {
        let Some(button) = &mut self.button else { return Vec::new() };
        let mut hands = Vec::new();
        for _ in 0..EDGES_MAX {
            match button.next_edge() {
                Ok(Some(edge)) => hands.push(gestures.edge(edge.down, edge.boottime_ns / 1_000_000)),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the button failed");
                    self.button = None;
                    return Vec::new();
                }
            }
        }
        hands.push(gestures.now((self.boottime_ns)() / 1_000_000));
        hands.retain(|hand| *hand != Hand::Nothing);
        hands
    }

    fn step(&mut self, front: &mut Front, device: &mut Device, hand: Hand) {
        let status = (self.gather)();
        let step = self.desk.step(front, hand, &status);
        for wish in step.wishes {
            (self.wish)(wish);
        }
        device.show(self.screen.as_mut(), &step.frame, step.lit);
        if let Some(led) = &mut self.led
            && let Err(error) = led.set(troubles(&status).is_empty())
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the light failed");
            self.led = None;
        }
        (self.show)(Live { status, frame: step.picture });
    }
}

/// The screen's state, so that a failing one is left alone for a while and stops nothing.
#[derive(Debug)]
struct Device {
    broken_since: Option<Instant>,
    lit: Option<bool>,
}

impl Device {
    fn show(&mut self, screen: Option<&mut Box<dyn Screen>>, frame: &Frame, lit: bool) {
        let Some(screen) = screen else { return };
        if self.broken_since.is_some_and(|since| since.elapsed() < RETRY) {
            return;
        }
        let mut draw = || {
            if self.lit != Some(lit) {
                screen.set_lit(lit)?;
            }
            if lit { screen.show(frame) } else { Ok(()) }
        };
        match draw() {
            Ok(()) => (self.broken_since, self.lit) = (None, Some(lit)),
            Err(error) => {
                if self.broken_since.is_none() {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the screen failed");
                }
                (self.broken_since, self.lit) = (Some(Instant::now()), None);
            }
        }
    }

    /// Leaves a dark screen: a picture that stays would say that the box runs.
    fn goodbye(&self, screen: Option<&mut Box<dyn Screen>>) {
        if let Some(screen) = screen.filter(|_| self.broken_since.is_none())
            && let Err(error) = screen.set_lit(false)
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "the screen stays lit");
        }
    }
}
