//! A one-time code on the screen: first the question for a press of the button, then the code, then nothing.
//!
//! A pure state machine like the view beside it: time comes in as milliseconds of any steady clock. It keeps one code
//! at most, and forgets it when its time is over.

use control::Status;
use platform::codes::{CodeOffer, ShownCode};
use platform::screen::Frame;

use super::pages;

/// How long the screen waits for the press, milliseconds: time to walk to the box. A later press must not show a code
/// to somebody who only wanted the next page.
pub const ASK_MS: u64 = 2 * 60 * 1000;

/// How long the code stays, milliseconds: time to walk back and type it, or to read it to somebody.
pub const SHOW_MS: u64 = 2 * 60 * 1000;

/// What the screen shows of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodePage {
    /// Somebody signed in as `account` asked for a code that does this; a press shows it.
    Ask {
        /// What the code does, to follow "the code to".
        purpose: &'static str,
        /// The account's handle.
        account: String,
    },
    /// The code itself.
    Show {
        /// What it does.
        purpose: &'static str,
        /// The account's handle.
        account: String,
        /// The code.
        code: ShownCode,
        /// Seconds until it leaves the screen.
        left_s: u64,
    },
    /// A code is on another screen: what a picture of the screen shows instead of the code.
    Elsewhere,
}

/// Keeps the code that waits for the button, or is shown.
#[derive(Debug, Default)]
pub struct CodeDesk {
    offer: Option<CodeOffer>,
    since_ms: u64,
    pressed: bool,
}

impl CodeDesk {
    /// Takes a code; it waits for the button, in place of an older one.
    pub fn offer(&mut self, offer: CodeOffer, now_ms: u64) {
        *self = Self { offer: Some(offer), since_ms: now_ms, pressed: false };
    }

    /// The button was pressed, shortly or long: shows the code that waits, or puts away the one that is shown. False
    /// when there is none, and the press means what it always means.
    pub fn press(&mut self, now_ms: u64) -> bool {
        self.forget_old(now_ms);
        if self.offer.is_none() {
            return false;
        }
        if self.pressed {
            *self = Self::default();
        } else {
            self.pressed = true;
            self.since_ms = now_ms;
        }
        true
    }

    /// What the screen shows instead of its pages, if anything.
    pub fn page(&mut self, now_ms: u64) -> Option<CodePage> {
        self.forget_old(now_ms);
        let offer = self.offer.as_ref()?;
        let (purpose, account) = (offer.purpose, offer.account.clone());
        if !self.pressed {
            return Some(CodePage::Ask { purpose, account });
        }
        let left_s = SHOW_MS.saturating_sub(now_ms.saturating_sub(self.since_ms)).div_ceil(1000);
        Some(CodePage::Show { purpose, account, code: offer.code.clone(), left_s })
    }

    fn forget_old(&mut self, now_ms: u64) {
        let life_ms = if self.pressed { SHOW_MS } else { ASK_MS };
        if now_ms.saturating_sub(self.since_ms) >= life_ms {
            *self = Self::default();
        }
    }
}

/// Draws what a desk says.
pub fn draw_code(page: &CodePage, status: &Status) -> Frame {
    match page {
        CodePage::Ask { purpose, account } => pages::code_question(status, purpose, account),
        CodePage::Show { purpose, account, code, left_s } => {
            pages::code(status, purpose, account, code.expose(), *left_s)
        }
        CodePage::Elsewhere => pages::code_elsewhere(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(code: &str) -> CodeOffer {
        CodeOffer {
            purpose: "confirm the e-mail address",
            account: "alice.test".to_owned(),
            code: ShownCode::new(code.to_owned()),
        }
    }

    fn code_of(page: Option<CodePage>) -> Option<String> {
        match page {
            Some(CodePage::Show { code, .. }) => Some(code.expose().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_code_is_seen_after_the_press_and_for_two_minutes() {
        let mut desk = CodeDesk::default();
        assert!(!desk.press(0), "without a code the button keeps its meaning");
        desk.offer(offer("ABCDE-FGHIJ"), 10);
        assert!(matches!(desk.page(11), Some(CodePage::Ask { .. })));
        assert!(desk.press(1_000));
        assert_eq!(code_of(desk.page(1_000 + SHOW_MS - 1)).as_deref(), Some("ABCDE-FGHIJ"));
        assert_eq!(desk.page(1_000 + SHOW_MS), None);
        assert!(!desk.press(1_000 + SHOW_MS), "it is forgotten");
    }

    #[test]
    fn a_code_that_nobody_came_for_is_never_seen() {
        let mut desk = CodeDesk::default();
        desk.offer(offer("ABCDE-FGHIJ"), 0);
        assert!(!desk.press(ASK_MS));
        assert_eq!(desk.page(ASK_MS), None);
    }

    #[test]
    fn a_newer_code_waits_for_a_press_of_its_own_and_a_second_press_puts_it_away() {
        let mut desk = CodeDesk::default();
        desk.offer(offer("ABCDE-FGHIJ"), 0);
        desk.press(1);
        desk.offer(offer("KLMNO-PQRST"), 2);
        assert!(matches!(desk.page(3), Some(CodePage::Ask { .. })));
        desk.press(4);
        assert_eq!(code_of(desk.page(5)).as_deref(), Some("KLMNO-PQRST"));
        assert!(desk.press(6));
        assert_eq!(desk.page(7), None);
    }
}
