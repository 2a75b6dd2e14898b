//! Draws on the screen, on a thread of its own: a bus that hangs holds this thread and neither the button nor the file
//! that tells how the box is.
//!
//! It draws the newest picture that it was given and leaves out those that it was too slow for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use platform::{DeviceError, Frame, Screen};

/// How long a screen that failed is left alone before it is tried again: a loose plug is pushed back by hand.
const RETRY: Duration = Duration::from_secs(10);

/// How long the end waits for the screen to go dark; a bus that hangs must not keep the box on.
const GOODBYE: Duration = Duration::from_secs(1);

/// The thread that draws.
#[derive(Debug)]
pub(super) struct Painter {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    works: AtomicBool,
}

#[derive(Debug, Default)]
struct Wanted {
    /// The picture, and whether pixels are on; taken when it is drawn.
    picture: Option<(Frame, bool)>,
    ends: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Painter {
    /// Starts the thread; `None` when the system gives none, and the box then has no screen.
    pub(super) fn start(screen: Box<dyn Screen>) -> Option<Self> {
        let shared = Arc::<Shared>::default();
        let (ends, ended) = mpsc::channel();
        let brush = Brush { shared: Arc::clone(&shared), screen, lit: None };
        let run = move || {
            brush.run();
            // Nobody may be waiting any more.
            let _alone = ends.send(()).is_err();
        };
        match std::thread::Builder::new().name("screen".to_owned()).spawn(run) {
            Ok(_runs_on) => Some(Self { shared, ended }),
            Err(error) => {
                tracing::error!(%error, "no thread for the screen");
                None
            }
        }
    }

    /// Asks for this picture; `lit` switches the pixels on or off. It does not wait.
    pub(super) fn draw(&self, frame: Frame, lit: bool) {
        self.shared.lock().picture = Some((frame, lit));
        self.shared.changed.notify_one();
    }

    /// Tells whether the last picture reached the screen.
    pub(super) fn works(&self) -> bool {
        self.shared.works.load(Ordering::Relaxed)
    }

    /// Leaves a dark screen: a picture that stays would say that the box runs.
    pub(super) fn goodbye(&self) {
        self.shared.lock().ends = true;
        self.shared.changed.notify_one();
        if self.ended.recv_timeout(GOODBYE).is_err() {
            tracing::debug!("the screen stays as it is: its bus does not answer");
        }
    }
}

/// What the thread holds.
struct Brush {
    shared: Arc<Shared>,
    screen: Box<dyn Screen>,
    /// Whether the pixels are on; `None` when that is not known.
    lit: Option<bool>,
}

impl Brush {
    fn run(mut self) {
        let mut broken_since: Option<Instant> = None;
        while let Some((frame, lit)) = self.next(broken_since) {
            match self.show(&frame, lit) {
                Ok(()) => {
                    if broken_since.take().is_some() {
                        tracing::info!("the screen is back");
                    }
                    self.lit = Some(lit);
                    self.shared.works.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    if broken_since.is_none() {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the screen failed");
                    }
                    (broken_since, self.lit) = (Some(Instant::now()), None);
                    self.shared.works.store(false, Ordering::Relaxed);
                }
            }
        }
        if broken_since.is_none()
            && let Err(error) = self.screen.set_lit(false)
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "the screen stays lit");
        }
    }

    /// Waits for the next picture; a screen that failed is left alone for a while. `None` at the end.
    fn next(&self, broken_since: Option<Instant>) -> Option<(Frame, bool)> {
        let mut wanted = self.shared.lock();
        loop {
            if wanted.ends {
                return None;
            }
            let rest = broken_since.map_or(Duration::ZERO, |since| RETRY.saturating_sub(since.elapsed()));
            if rest.is_zero() {
                if let Some(picture) = wanted.picture.take() {
                    return Some(picture);
                }
                wanted = self.shared.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = self.shared.changed.wait_timeout(wanted, rest);
                wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn show(&mut self, frame: &Frame, lit: bool) -> Result<(), DeviceError> {
        if self.lit != Some(lit) {
            self.screen.set_lit(lit)?;
        }
        if lit { self.screen.show(frame) } else { Ok(()) }
    }
}
