//! The front's thread: gathers what each part says, lets the policy choose, hands picture and wishes on.
//!
//! A thread of its own, since a line or a file that hangs holds whoever waits for it; the screen's slow bus has another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use control::Status;
use platform::{Button, DeviceError, Frame, FrontDevices, Led};

use super::gesture::Gestures;
use super::painter::Painter;
use super::{Desk, Front, Hand, Wish};
use crate::screen::troubles;

/// How often the button is read: edges carry their own time, so this only delays what they do.
const LOOK: Duration = Duration::from_millis(50);

/// How often the screen is drawn anew: a press is shown at once, everything else within this time.
const DRAW: Duration = Duration::from_millis(250);

/// How long a button or light that is absent or failed is left alone before it is opened again.
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
    /// Opens screen, button and light, again and again where they are absent.
    pub devices: Box<dyn FrontDevices>,
    /// The button, when it was opened already: whoever started this looked whether it is held.
    pub button: Option<Box<dyn Button>>,
    /// Whether the picture that others see is the box's screen (a computer). Elsewhere codes are left out of it.
    pub picture_is_screen: bool,
    /// Where status and picture go.
    pub show: Box<dyn FnMut(Live) + Send>,
    /// Presses of a simulated button; none where a real one is, or none at all.
    pub presses: Option<Receiver<Press>>,
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
            .field("devices", &self.devices)
            .field("button", &self.button)
            .finish_non_exhaustive()
    }
}

impl Display {
    /// Draws until `stop` is set, or nobody is left who could press.
    pub fn run(mut self, stop: &AtomicBool) {
        let painter = self.devices.screen().and_then(Painter::start);
        let mut button = Hardware::new("the button", self.button.take());
        let mut led = Hardware::new("the light", None);
        let held = button.open.as_mut().is_some_and(|button| button.is_down().unwrap_or(false));
        let mut gestures = Gestures::new(held);
        let mut front = Front::new(self.desk.now_ms(), self.blank_after_ms, !self.picture_is_screen);
        let mut drawn: Option<Instant> = None;
        self.step(&mut front, painter.as_ref(), &mut led, Hand::Nothing);
        while !stop.load(Ordering::Relaxed) {
            button.reopen(|| self.devices.button());
            led.reopen(|| self.devices.led());
            let look = if button.open.is_some() { LOOK } else { DRAW };
            let Some(pressed) = self.wait(look) else { break };
            self.desk.set_means(
                self.picture_is_screen || painter.as_ref().is_some_and(Painter::works),
                self.presses.is_some() || button.open.is_some(),
            );
            let mut hands = self.hands(&mut button, &mut gestures);
            hands.extend(pressed);
            let due = drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW);
            if hands.is_empty() && due {
                hands.push(Hand::Nothing);
            }
            for hand in hands {
                drawn = Some(Instant::now());
                self.step(&mut front, painter.as_ref(), &mut led, hand);
            }
        }
        if let Some(painter) = painter {
            painter.goodbye();
        }
    }

    /// Waits for the next look, or for a simulated press; `None` when nobody is left who could press.
    fn wait(&self, look: Duration) -> Option<Option<Hand>> {
        let Some(presses) = &self.presses else {
            std::thread::sleep(look);
            return Some(None);
        };
        match presses.recv_timeout(look) {
            Ok(Press::Short) => Some(Some(Hand::Short)),
            Ok(Press::Long) => Some(Some(Hand::Released(super::gesture::HOLD_MS))),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// What the hand did since the last look.
    fn hands(&self, button: &mut Hardware<dyn Button>, gestures: &mut Gestures) -> Vec<Hand> {
        let mut hands = Vec::new();
        for _ in 0..EDGES_MAX {
            let Some(open) = &mut button.open else { break };
            match open.next_edge() {
                Ok(Some(edge)) => hands.push(gestures.edge(edge.down, edge.boottime_ns / 1_000_000)),
                Ok(None) => break,
                Err(error) => {
                    button.failed(&error);
                    // A hold whose end nobody will see must not go on by itself.
                    *gestures = Gestures::default();
                    return Vec::new();
                }
            }
        }
        if button.open.is_some() {
            hands.push(gestures.now((self.boottime_ns)() / 1_000_000));
        }
        hands.retain(|hand| *hand != Hand::Nothing);
        hands
    }

    fn step(
        &mut self,
        front: &mut Front,
        painter: Option<&Painter>,
        led: &mut Hardware<dyn Led>,
        hand: Hand,
    ) {
        let status = (self.gather)();
        let step = self.desk.step(front, hand, &status);
        for wish in step.wishes {
            (self.wish)(wish);
        }
        if let Some(painter) = painter {
            painter.draw(step.frame, step.lit);
        }
        // On while all is well, off while something is wrong.
        if let Some(light) = &mut led.open
            && let Err(error) = light.set(troubles(&status).is_empty())
        {
            led.failed(&error);
        }
        (self.show)(Live { status, frame: step.picture });
    }
}

/// A device that may be absent now and there later.
struct Hardware<T: ?Sized> {
    name: &'static str,
    open: Option<Box<T>>,
    tried: Option<Instant>,
    /// Said once until it works again.
    complained: bool,
}

impl<T: ?Sized> Hardware<T> {
    fn new(name: &'static str, open: Option<Box<T>>) -> Self {
        Self { name, open, tried: None, complained: false }
    }

    /// Opens it when it is not open and was left alone long enough.
    fn reopen(&mut self, open: impl FnOnce() -> Result<Option<Box<T>>, DeviceError>) {
        if self.open.is_some() || self.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return;
        }
        self.tried = Some(Instant::now());
        match open() {
            Ok(opened) => {
                if opened.is_some() && std::mem::take(&mut self.complained) {
                    tracing::info!("{} is back", self.name);
                }
                self.open = opened;
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &DeviceError) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(error = error as &dyn std::error::Error, "{} failed", self.name);
        }
        (self.open, self.tried) = (None, Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use platform::sim::SimButton;

    use super::*;

    #[test]
    fn a_button_that_failed_is_opened_again_after_a_pause() {
        let button = SimButton::new();
        let opens = std::cell::Cell::new(0);
        let mut hardware = Hardware::<dyn Button>::new("the button", None);
        let open = || {
            opens.set(opens.get() + 1);
            Ok(Some(Box::new(button.clone()) as Box<dyn Button>))
        };
        hardware.reopen(open);
        assert!(hardware.open.is_some());
        button.set_broken(true);
        let error = hardware.open.as_mut().unwrap().next_edge().unwrap_err();
        hardware.failed(&error);
        hardware.reopen(open);
        assert!(hardware.open.is_none() && opens.get() == 1, "it is left alone for a while");
        hardware.tried = Instant::now().checked_sub(RETRY);
        hardware.reopen(open);
        assert!(hardware.open.is_some());
    }
}
