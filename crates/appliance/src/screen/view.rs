//! Which page is shown: rotation by short presses, trouble to the front, blank after a while.
//!
//! A pure state machine: time comes in as milliseconds of any steady clock, what to draw comes out.

use super::Page;
use super::trouble::Kind;

/// What the owner's hand, or the passing of time, does to the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The button was pressed shortly: the next page.
    ShortPress,
    /// The button was held: back to what matters most.
    LongPress,
}

/// What is to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A page.
    Page(Page),
    /// Nothing: the screen rests.
    Blank,
}

/// How long a page that the owner chose stays before the screen returns to what matters, in milliseconds. Shorter
/// takes a page away while it is read.
pub const RETURN_AFTER_MS: u64 = 30_000;

/// How long the screen is lit after the last press or new trouble, in milliseconds. An OLED lit for years burns in.
pub const BLANK_AFTER_MS: u64 = 60_000;

/// The screen's memory between two events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    page: Page,
    /// The kinds of trouble when the owner last looked away; a kind that is not in it is news.
    known: Vec<Kind>,
    touched_ms: u64,
    chosen: bool,
    blank_after_ms: Option<u64>,
}

impl View {
    /// Starts with the page that matters most, lit. `blank_after_ms` of `None` never rests (a picture on a computer).
    pub fn new(now_ms: u64, blank_after_ms: Option<u64>) -> Self {
        Self { page: Page::Home, known: Vec::new(), touched_ms: now_ms, chosen: false, blank_after_ms }
    }

    /// Takes one event and says what to draw. `kinds` are the present troubles, the worst first; `fresh` says that no
    /// account exists yet, so that the set-up page is what matters.
    pub fn step(&mut self, event: Event, now_ms: u64, kinds: &[Kind], fresh: bool) -> Shown {
        let front = front(kinds, fresh);
        let asleep = self.rests(now_ms);
        match event {
            // The press that wakes the screen only wakes it: the owner did not see what it would have turned.
            Event::ShortPress if asleep => self.show(front, now_ms, false),
            Event::ShortPress => self.show(next(self.page, kinds.len()), now_ms, true),
            Event::LongPress => self.show(front, now_ms, false),
            Event::Tick => {}
        }
        let news = kinds.iter().any(|kind| !self.known.contains(kind));
        if news {
            self.show(front, now_ms, false);
        } else if !self.chosen || now_ms.saturating_sub(self.touched_ms) >= RETURN_AFTER_MS {
            self.page = front;
            self.chosen = false;
        } else if let Page::Trouble(number) = self.page
            && usize::from(number) >= kinds.len()
        {
            self.page = front;
        }
        self.known = kinds.to_vec();
        self.shown(now_ms)
    }

    /// What is shown before the next event.
    pub fn shown(&self, now_ms: u64) -> Shown {
        if self.rests(now_ms) { Shown::Blank } else { Shown::Page(self.page) }
    }

    fn show(&mut self, page: Page, now_ms: u64, chosen: bool) {
        self.page = page;
        self.chosen = chosen;
        self.touched_ms = now_ms;
    }

    fn rests(&self, now_ms: u64) -> bool {
        self.blank_after_ms.is_some_and(|limit| now_ms.saturating_sub(self.touched_ms) >= limit)
    }
}

/// What matters most: the worst trouble, then set-up on a box without accounts, else home.
fn front(kinds: &[Kind], fresh: bool) -> Page {
    if !kinds.is_empty() {
        Page::Trouble(0)
    } else if fresh {
        Page::SetUp
    } else {
        Page::Home
    }
}

/// The page after `page`: the troubles, then home, network, time, storage, set-up, power, reset, and round again.
fn next(page: Page, troubles: usize) -> Page {
    match page {
        Page::Trouble(number) => match number.checked_add(1) {
            Some(next) if usize::from(next) < troubles => Page::Trouble(next),
            _ => Page::Home,
        },
        Page::Home => Page::Network,
        Page::Network => Page::Time,
        Page::Time => Page::Storage,
        Page::Storage => Page::SetUp,
        Page::SetUp => Page::Power,
        Page::Power => Page::Reset,
        Page::Reset if troubles > 0 => Page::Trouble(0),
        Page::Reset => Page::Home,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[Kind] = &[];

    fn page(shown: Shown) -> Page {
        match shown {
            Shown::Page(page) => page,
            Shown::Blank => panic!("the screen is blank"),
        }
    }

    #[test]
    fn short_presses_go_round_all_pages() {
        let mut view = View::new(0, None);
        let seen: Vec<Page> = (1..=8).map(|ms| page(view.step(Event::ShortPress, ms, NONE, false))).collect();
        let round =
            [Page::Network, Page::Time, Page::Storage, Page::SetUp, Page::Power, Page::Reset, Page::Home];
        assert_eq!(seen[..7], round);
        assert_eq!(seen[7], Page::Network);
    }

    #[test]
    fn trouble_comes_to_the_front_and_leaves_by_itself() {
        let mut view = View::new(0, None);
        view.step(Event::ShortPress, 1, NONE, false);
        assert_eq!(page(view.step(Event::Tick, 2, &[Kind::ClockUntrusted], false)), Page::Trouble(0));
        assert_eq!(page(view.step(Event::Tick, 3, NONE, false)), Page::Home);
    }

    #[test]
    fn trouble_that_was_seen_may_be_paged_away_for_a_while() {
        let kinds = &[Kind::DiskFull, Kind::ClockUntrusted];
        let mut view = View::new(0, None);
        assert_eq!(page(view.step(Event::Tick, 0, kinds, false)), Page::Trouble(0));
        assert_eq!(page(view.step(Event::ShortPress, 1, kinds, false)), Page::Trouble(1));
        assert_eq!(page(view.step(Event::ShortPress, 2, kinds, false)), Page::Home);
        assert_eq!(page(view.step(Event::Tick, 3, kinds, false)), Page::Home);
        assert_eq!(page(view.step(Event::Tick, 2 + RETURN_AFTER_MS, kinds, false)), Page::Trouble(0));
    }

    #[test]
    fn a_trouble_that_ends_while_shown_gives_its_place_up() {
        let mut view = View::new(0, None);
        view.step(Event::Tick, 0, &[Kind::DiskFull, Kind::ClockUntrusted], false);
        view.step(Event::ShortPress, 1, &[Kind::DiskFull, Kind::ClockUntrusted], false);
        assert_eq!(page(view.step(Event::Tick, 2, &[Kind::DiskFull], false)), Page::Trouble(0));
    }

    #[test]
    fn rests_after_a_minute_and_new_trouble_wakes_it() {
        let mut view = View::new(0, Some(BLANK_AFTER_MS));
        assert_eq!(view.step(Event::Tick, BLANK_AFTER_MS, NONE, false), Shown::Blank);
        let woken = view.step(Event::Tick, BLANK_AFTER_MS + 1, &[Kind::DiskMissing], false);
        assert_eq!(woken, Shown::Page(Page::Trouble(0)));
    }

    #[test]
    fn the_press_that_wakes_turns_no_page() {
        let mut view = View::new(0, Some(BLANK_AFTER_MS));
        view.step(Event::Tick, BLANK_AFTER_MS, NONE, false);
        assert_eq!(view.step(Event::ShortPress, BLANK_AFTER_MS + 1, NONE, false), Shown::Page(Page::Home));
    }

    #[test]
    fn a_box_without_accounts_starts_with_set_up() {
        let mut view = View::new(0, None);
        assert_eq!(page(view.step(Event::Tick, 0, NONE, true)), Page::SetUp);
        assert_eq!(page(view.step(Event::LongPress, 1, NONE, false)), Page::Home);
    }
}
