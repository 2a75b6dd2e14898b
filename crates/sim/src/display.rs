//! The screen's task: gathers what each part says, lets the view choose, draws, and hands the picture on.

use std::time::Duration;

use appliance::screen::{Event, View, draw_shown, troubles};
use control::Status;
use panel::{Live, Press};
use platform::Screen;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often the screen is drawn anew: a press is shown at once, everything else within this time.
const TICK: Duration = Duration::from_millis(250);

/// What the task is given.
pub struct Display {
    /// Asks every part for its status.
    pub gather: Box<dyn Fn() -> Status + Send>,
    /// The terminal, when there is one.
    pub screen: Option<Box<dyn Screen>>,
    /// Where status and picture go.
    pub live: watch::Sender<Live>,
    /// Presses of the simulated button.
    pub presses: mpsc::Receiver<Press>,
    /// What to do when the button is held while a question is on the screen.
    pub confirm: Box<dyn Fn() + Send>,
}

impl std::fmt::Debug for Display {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Display").field("screen", &self.screen).finish_non_exhaustive()
    }
}

impl Display {
    /// Draws until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let started = Instant::now();
        // A picture on a computer does not burn in: it never rests.
        let mut view = View::new(0, None);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(press) = self.presses.recv() => match press {
                    Press::Short => Event::ShortPress,
                    Press::Long => Event::LongPress,
                },
                _ = ticks.tick() => Event::Tick,
            };
            if event == Event::LongPress {
                (self.confirm)();
            }
            let status = (self.gather)();
            let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.show(&mut view, event, now_ms, status);
        }
    }

    fn show(&mut self, view: &mut View, event: Event, now_ms: u64, status: Status) {
        let kinds: Vec<_> = troubles(&status).iter().map(|trouble| trouble.kind).collect();
        let fresh = status.pds.as_ref().is_some_and(|pds| pds.accounts == 0);
        let frame = draw_shown(view.step(event, now_ms, &kinds, fresh), &status);
        // A screen that fails stops nothing; the panel still has the picture.
        let shown = self.screen.as_mut().map(|screen| screen.show(&frame));
        if let Some(Err(error)) = shown {
            tracing::warn!(error = &error as &dyn std::error::Error, "the screen failed");
            self.screen = None;
        }
        self.live.send_replace(Live { status, frame });
    }
}
