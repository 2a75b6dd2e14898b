//! The front of the box: a screen that remembers, a button pressed by hand, a light, a power switch that waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::out_of_order;
use crate::{Button, DeviceError, Edge, Frame, FrontDevices, Led, Power, PowerRequest, Screen};

/// Frames that a screen remembers; a story of one test shows fewer.
const FRAMES_MAX: usize = 64;

/// A simulated screen; clones are the same screen.
#[derive(Clone, Debug, Default)]
pub struct SimScreen {
    inner: Arc<Mutex<ScreenInner>>,
}

#[derive(Debug, Default)]
struct ScreenInner {
    frames: VecDeque<Frame>,
    shown: u64,
    dark: bool,
    broken: bool,
}

impl SimScreen {
    /// Makes a lit screen that has shown nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives what is on the screen now.
    #[must_use]
    pub fn last(&self) -> Option<Frame> {
        self.lock().frames.back().cloned()
    }

    /// Gives the last 64 frames, the oldest first.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.lock().frames.iter().cloned().collect()
    }

    /// Counts the frames ever shown.
    #[must_use]
    pub fn shown(&self) -> u64 {
        self.lock().shown
    }

    /// Tells whether its pixels are switched on.
    #[must_use]
    pub fn is_lit(&self) -> bool {
        !self.lock().dark
    }

    /// Lets its bus fail, or work again.
    pub fn set_broken(&self, broken: bool) {
        self.lock().broken = broken;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ScreenInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen for SimScreen {
    fn show(&mut self, frame: &Frame) -> Result<(), DeviceError> {
        let mut inner = self.lock();
        if inner.broken {
            return Err(out_of_order("screen", "show a frame"));
        }
        if inner.frames.len() == FRAMES_MAX {
            inner.frames.pop_front();
        }
        inner.frames.push_back(frame.clone());
        inner.shown += 1;
        Ok(())
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), DeviceError> {
        let mut inner = self.lock();
        if inner.broken {
            return Err(out_of_order("screen", "switch its pixels"));
        }
        inner.dark = !lit;
        Ok(())
    }
}

/// A simulated button; clones are the same button.
#[derive(Clone, Debug, Default)]
pub struct SimButton {
    edges: Arc<Mutex<VecDeque<Edge>>>,
    broken: Arc<AtomicBool>,
    held_at_boot: bool,
}

impl SimButton {
    /// Makes a button that nobody holds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a button that is held while the box boots.
    #[must_use]
    pub fn held() -> Self {
        Self { held_at_boot: true, ..Self::default() }
    }

    /// Presses it at a BOOTTIME (nanoseconds) for so long.
    pub fn press(&self, boottime_ns: u64, held: Duration) {
        let up_ns = boottime_ns.saturating_add(u64::try_from(held.as_nanos()).unwrap_or(u64::MAX));
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        edges.push_back(Edge { down: true, boottime_ns });
        edges.push_back(Edge { down: false, boottime_ns: up_ns });
    }

    /// Lets its line fail, or work again.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    fn check(&self, operation: &'static str) -> Result<(), DeviceError> {
        if self.broken.load(Ordering::Relaxed) { Err(out_of_order("button", operation)) } else { Ok(()) }
    }
}

impl Button for SimButton {
    fn next_edge(&mut self) -> Result<Option<Edge>, DeviceError> {
        self.check("read an edge")?;
        Ok(self.edges.lock().unwrap_or_else(PoisonError::into_inner).pop_front())
    }

    fn is_down(&mut self) -> Result<bool, DeviceError> {
        self.check("read its line")?;
        Ok(self.held_at_boot)
    }
}

/// A simulated light; clones are the same light.
#[derive(Clone, Debug, Default)]
pub struct SimLed {
    on: Arc<Mutex<bool>>,
}

impl SimLed {
    /// Tells whether it shines.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Led for SimLed {
    fn set(&mut self, on: bool) -> Result<(), DeviceError> {
        *self.on.lock().unwrap_or_else(PoisonError::into_inner) = on;
        Ok(())
    }
}

/// A front with these devices; the screen is handed out once.
#[derive(Debug, Default)]
pub struct SimFront {
    /// The screen.
    pub screen: Option<Box<dyn Screen>>,
    /// The button.
    pub button: Option<SimButton>,
    /// The light.
    pub led: Option<SimLed>,
}

impl FrontDevices for SimFront {
    fn screen(&mut self) -> Option<Box<dyn Screen>> {
        self.screen.take()
    }

    fn button(&mut self) -> Result<Option<Box<dyn Button>>, DeviceError> {
        let Some(button) = &self.button else { return Ok(None) };
        button.check("open")?;
        Ok(Some(Box::new(button.clone())))
    }

    fn led(&mut self) -> Result<Option<Box<dyn Led>>, DeviceError> {
        Ok(self.led.clone().map(|led| Box::new(led) as Box<dyn Led>))
    }
}

/// A power switch that only remembers what was asked; clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct SimPower {
    requests: Arc<Mutex<Vec<PowerRequest>>>,
}

impl SimPower {
    /// Gives what was asked, the oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<PowerRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Power for SimPower {
    fn request(&mut self, request: PowerRequest) -> Result<(), DeviceError> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        Ok(())
    }
}
