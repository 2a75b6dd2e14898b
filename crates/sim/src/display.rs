//! The screen's task: gathers what each part says, lets the view choose, draws, and hands the picture on.

use std::sync::Arc;
use std::time::Duration;

use appliance::screen::{CodePage, Event, View, draw_code, draw_shown, troubles};
use control::Status;
use panel::{Live, Press};
use platform::Screen;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::codes::Codes;

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
    /// One-time codes that wait for the button.
    pub codes: Arc<Codes>,
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
            // A press that shows a code turns no page and confirms nothing else.
            let event = match event {
                Event::ShortPress | Event::LongPress if self.codes.press() => Event::Tick,
                event => event,
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
        let mut frame = draw_shown(view.step(event, now_ms, &kinds, fresh), &status);
        // Without a screen of its own the box shows itself on the panel; with one, a code is there and nowhere else.
        let mut picture = frame.clone();
        if let Some(page) = self.codes.page() {
            frame = draw_code(&page, &status);
            let hidden = self.screen.is_some() && matches!(page, CodePage::Show { .. });
            picture = if hidden { draw_code(&CodePage::Elsewhere, &status) } else { frame.clone() };
        }
        // A screen that fails stops nothing; the panel still has the picture.
        let shown = self.screen.as_mut().map(|screen| screen.show(&frame));
        if let Some(Err(error)) = shown {
            tracing::warn!(error = &error as &dyn std::error::Error, "the screen failed");
            self.screen = None;
        }
        self.live.send_replace(Live { status, frame: picture });
    }
}

#[cfg(test)]
mod tests {
    use platform::sim::SimScreen;
    use platform::{CodeOffer, CodeScreen, Frame, ShownCode};
    use tokio::task::JoinSet;

    use super::*;

    /// No wait of a test is longer.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn offer() -> CodeOffer {
        CodeOffer {
            purpose: "confirm the e-mail address",
            account: "alice.test".to_owned(),
            code: ShownCode::new("ABCDE-FGHIJ".to_owned()),
        }
    }

    async fn picture(live: &mut watch::Receiver<Live>, done: impl Fn(&Frame) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, live.wait_for(|live| done(&live.frame))).await;
        assert!(waited.is_ok_and(|seen| seen.is_ok()), "the picture never came");
    }

    /// Whether two frames agree but for the corner, where seconds are counted down.
    fn alike(one: &Frame, other: &Frame) -> bool {
        let below = |frame: &Frame| frame.to_text().lines().skip(11).map(str::to_owned).collect::<Vec<_>>();
        below(one) == below(other)
    }

    #[tokio::test]
    async fn a_code_shows_on_the_screen_after_the_press_and_never_on_the_panel_beside_it() {
        let screen = SimScreen::new();
        for own_screen in [Some(screen.clone()), None] {
            let has_screen = own_screen.is_some();
            let (live, mut seen) = watch::channel(Live::default());
            let (presses, taken) = mpsc::channel(1);
            let codes = Arc::new(Codes::default());
            let display = Display {
                gather: Box::new(Status::default),
                screen: own_screen.map(|screen| Box::new(screen) as Box<dyn Screen>),
                live,
                presses: taken,
                codes: Arc::clone(&codes),
                confirm: Box::new(|| panic!("the press was for the code")),
            };
            let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
            tasks.spawn(display.run(shutdown.clone()));
            let status = Status::default();
            let CodeOffer { purpose, account, code } = offer();
            codes.offer(offer()).unwrap();
            let question = draw_code(&CodePage::Ask { purpose, account: account.clone() }, &status);
            picture(&mut seen, |frame| *frame == question).await;
            presses.send(Press::Long).await.unwrap();
            let shown = draw_code(&CodePage::Show { purpose, account, code, left_s: 120 }, &status);
            if has_screen {
                let elsewhere = draw_code(&CodePage::Elsewhere, &status);
                picture(&mut seen, |frame| *frame == elsewhere).await;
                assert!(alike(&screen.last().unwrap(), &shown));
            } else {
                picture(&mut seen, |frame| alike(frame, &shown)).await;
            }
            presses.send(Press::Short).await.unwrap();
            picture(&mut seen, |frame| !alike(frame, &shown) && *frame != question).await;
            shutdown.cancel();
            tasks.join_all().await;
        }
    }
}
