//! Decides what the screen shows and what the button does.
//!
//! Pure: the hand, the time and the status go in; a picture and wishes come out. What lies over the pages, the first that
//! there is: a hold that would switch the box off or erase it, a deed that waits for the owner, a one-time code.

use control::Status;
use control::request::Deed;
use platform::Frame;

use super::presence::Presence;
use crate::screen::{
    CodeDesk, CodePage, Event, Hold, Kind, Page, Shown, View, draw_code, draw_deed, draw_hold, draw_shown,
    troubles,
};

/// Holding so long switches the box off, milliseconds: long enough that no child does it in passing.
pub const OFF_HOLD_MS: u64 = 5_000;

/// Holding so long on the reset page erases everything, milliseconds.
pub const RESET_HOLD_MS: u64 = 10_000;

/// What the owner's hand does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Nothing.
    Nothing,
    /// It pressed the button for less than a second.
    Short,
    /// It holds the button, for so many milliseconds by now (a second or more).
    Holding(u64),
    /// It held the button and let go, after so many milliseconds.
    Released(u64),
}

/// What is to be done besides drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The owner says that this is the time, UTC microseconds.
    AcceptTime(u64),
    /// The owner says yes to this question of the storage part, which was on the screen.
    AcceptPlacement(u64),
    /// The owner was there and wants this.
    Do(Deed),
}

/// What one step shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is drawn on the box's own screen.
    pub frame: Frame,
    /// What others may see of it: codes are left out while the box has a screen of its own.
    pub picture: Frame,
    /// Whether the screen's pixels are on.
    pub lit: bool,
    /// What is to be done.
    pub wishes: Vec<Wish>,
}

/// The memory of the front.
#[derive(Debug)]
pub struct Front {
    view: View,
    /// Whether codes belong on the box's own screen only, and not on the picture that others see.
    own_screen: bool,
    /// The present hold has done what it does.
    spent: bool,
}

impl Front {
    /// Starts with the page that matters most. `blank_after_ms` of `None` never rests (a picture on a computer).
    #[must_use]
    pub fn new(now_ms: u64, blank_after_ms: Option<u64>, own_screen: bool) -> Self {
        Self { view: View::new(now_ms, blank_after_ms), own_screen, spent: false }
    }

    /// Takes what the hand does and gives what to show.
    pub fn step(
        &mut self,
        hand: Hand,
        now_ms: u64,
        status: &Status,
        codes: &mut CodeDesk,
        presence: &mut Presence,
    ) -> Step {
        let mut wishes = Vec::new();
        let kinds: Vec<_> = troubles(status).iter().map(|trouble| trouble.kind).collect();
        let fresh = status.pds.as_ref().is_some_and(|pds| pds.accounts == 0);
        let before = self.view.shown(now_ms);
        let hold = match hand {
            Hand::Holding(held_ms) => {
                self.holding(held_ms, before, presence.page(now_ms).is_some(), &mut wishes)
            }
            Hand::Nothing | Hand::Short | Hand::Released(_) => None,
        };
        let spent = match hand {
            Hand::Short | Hand::Released(_) => std::mem::take(&mut self.spent),
            Hand::Nothing | Hand::Holding(_) => false,
        };
        let event = match hand {
            Hand::Nothing | Hand::Holding(_) => Event::Tick,
            Hand::Short | Hand::Released(_) if spent => Event::Tick,
            Hand::Short => match presence.page(now_ms) {
                Some(_) => {
                    presence.decline();
                    Event::Tick
                }
                None if codes.press(now_ms) => Event::Tick,
                None => Event::ShortPress,
            },
            Hand::Released(_) => self.released(now_ms, before, status, codes, presence, &mut wishes),
        };
        let shown = self.view.step(event, now_ms, &kinds, fresh);
        let mut step = Step {
            frame: draw_shown(shown, status),
            picture: Frame::new(),
            lit: shown != Shown::Blank,
            wishes,
        };
        step.picture = step.frame.clone();
        if let Some(hold) = hold {
            step.frame = draw_hold(&hold, status);
            step.picture = step.frame.clone();
            step.lit = true;
        } else if let Some(page) = presence.page(now_ms) {
            step.frame = draw_deed(&page, status);
            step.picture =
                if self.own_screen { draw_code(&CodePage::Elsewhere, status) } else { step.frame.clone() };
            step.lit = true;
        } else if let Some(page) = codes.page(now_ms) {
            step.frame = draw_code(&page, status);
            // Without a screen of its own the box shows itself on the panel; with one, a code is there and nowhere else.
            let hidden = self.own_screen && matches!(page, CodePage::Show { .. });
            step.picture = if hidden { draw_code(&CodePage::Elsewhere, status) } else { step.frame.clone() };
            step.lit = true;
        }
        step
    }

    /// The button is being held: counts down to what that does, and does it once.
    fn holding(
        &mut self,
        held_ms: u64,
        shown: Shown,
        deed_waits: bool,
        wishes: &mut Vec<Wish>,
    ) -> Option<Hold> {
        let resets = shown == Shown::Page(Page::Reset) && !deed_waits;
        let limit_ms = if resets { RESET_HOLD_MS } else { OFF_HOLD_MS };
        let does = if resets { Deed::FactoryReset } else { Deed::PowerOff };
        if held_ms >= limit_ms && !self.spent {
            self.spent = true;
            wishes.push(Wish::Do(does.clone()));
        }
        let left_s = limit_ms.saturating_sub(held_ms).div_ceil(1_000);
        Some(Hold { does, left_s })
    }

    /// The button was held and let go before that did anything: a yes to what is on the screen.
    fn released(
        &self,
        now_ms: u64,
        before: Shown,
        status: &Status,
        codes: &mut CodeDesk,
        presence: &mut Presence,
        wishes: &mut Vec<Wish>,
    ) -> Event {
        if let Some(page) = presence.page(now_ms) {
            if page.button
                && let Some(deed) = presence.held(now_ms)
            {
                wishes.push(Wish::Do(deed));
            }
            return Event::Tick;
        }
        if codes.press(now_ms) {
            return Event::Tick;
        }
        match before {
            Shown::Page(Page::Power) => wishes.push(Wish::Do(Deed::Restart)),
            // Letting go of the reset page early is a no.
            Shown::Page(Page::Reset) => return Event::Tick,
            Shown::Page(Page::Trouble(number)) if asks_about_disks(number, status) => {
                let question = status.placement.as_ref().and_then(|placement| placement.question.as_ref());
                wishes.extend(question.map(|question| Wish::AcceptPlacement(question.id)));
                return Event::Tick;
            }
            Shown::Page(_) => {
                if let Some(date_us) = status.time.as_ref().and_then(|time| time.asks_owner_us) {
                    wishes.push(Wish::AcceptTime(date_us));
                }
            }
            Shown::Blank => {}
        }
        Event::LongPress
    }
}

/// Whether this trouble is the storage part's question: only the page that names the disk takes a yes to it.
fn asks_about_disks(number: u8, status: &Status) -> bool {
    troubles(status).get(usize::from(number)).is_some_and(|trouble| trouble.kind == Kind::DiskQuestion)
}
