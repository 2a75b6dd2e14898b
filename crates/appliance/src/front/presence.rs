//! Proof that the owner is there, before anything is done that cannot be undone.
//!
//! Whoever asks over the network may be anybody on the home network, or a program that was taken over. So a deed is
//! carried out only after the button was held while the screen named the deed, or after the code was given that the
//! screen showed for this one deed; a box without screen and button takes the one-time secret that its owner wrote into
//! `perch.toml`. A pure state machine; codes come in from outside.

use control::request::{Deed, Proof};

/// How long a deed waits for its proof, milliseconds: time to walk to the box and back.
pub const PROVE_WITHIN_MS: u64 = 2 * 60 * 1_000;

/// Wrong codes that are allowed for one deed. A code has six digits, so three tries find it once in 333,333.
pub const TRIES: u8 = 3;

/// After the last wrong try nothing is asked for so long, milliseconds: guessing on and on would take centuries.
pub const LOCK_MS: u64 = 10 * 60 * 1_000;

/// The shortest one-time secret that counts, in characters: what nobody guesses in the tries that there are.
pub const SECRET_CHARS_MIN: usize = 12;

/// What the box has to prove presence with.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// A screen that shows codes.
    pub screen: bool,
    /// A button.
    pub button: bool,
    /// The one-time secret, unless it was used. It counts on a box without screen and button only.
    pub secret: Option<String>,
}

/// Why a deed is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// There is no way to prove anything.
    #[error(
        "this box has no screen, no button and no unused secret: write a new `secret` of at least 12 characters into perch.toml and restart"
    )]
    NoMeans,
    /// Another deed waits.
    #[error("the box waits for an answer to another question; try again in two minutes")]
    Busy,
    /// Too many wrong codes.
    #[error("too many wrong codes: wait ten minutes")]
    Locked,
    /// Nothing was asked, or too long ago, or something else.
    #[error("ask for it again: this question is over")]
    NotAsked,
    /// The code or secret is wrong.
    #[error("that is not the code; {tries_left} tries left")]
    Wrong {
        /// Tries that are left.
        tries_left: u8,
    },
}

/// What the screen shows of a deed that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeedPage {
    /// The deed.
    pub deed: Deed,
    /// The code, on a box with a screen.
    pub code: String,
    /// Whether holding the button confirms it.
    pub button: bool,
    /// Seconds until the question is over.
    pub left_s: u64,
}

#[derive(Debug)]
struct Asked {
    deed: Deed,
    code: String,
    since_ms: u64,
    tries_left: u8,
}

/// The deed that waits, if any.
#[derive(Debug, Default)]
pub struct Presence {
    means: Means,
    asked: Option<Asked>,
    locked_until_ms: u64,
}

impl Presence {
    /// Starts with nothing asked.
    #[must_use]
    pub fn new(means: Means) -> Self {
        let secret = means.secret.filter(|secret| secret.chars().count() >= SECRET_CHARS_MIN);
        Self { means: Means { secret, ..means }, asked: None, locked_until_ms: 0 }
    }

    /// Takes what works now: a screen that was pulled out shows nobody what is asked.
    pub fn set_means(&mut self, screen: bool, button: bool) {
        (self.means.screen, self.means.button) = (screen, button);
    }

    /// Tells whether a code can be shown after a press.
    #[must_use]
    pub fn shows_codes(&self) -> bool {
        self.means.screen && self.means.button
    }

    /// Somebody asks for a deed. Gives the ways to prove that the owner wants it; `code` is a fresh one.
    ///
    /// # Errors
    /// [`NotProven`] when there is no way, another deed waits, or too many codes were wrong.
    pub fn ask(&mut self, deed: Deed, code: String, now_ms: u64) -> Result<Vec<Proof>, NotProven> {
        self.forget_old(now_ms);
        if now_ms < self.locked_until_ms {
            return Err(NotProven::Locked);
        }
        if self.asked.as_ref().is_some_and(|asked| asked.deed != deed) {
            return Err(NotProven::Busy);
        }
        let ways = self.ways();
        if ways.is_empty() {
            return Err(NotProven::NoMeans);
        }
        // Asking again gives no new tries.
        if self.asked.is_none() {
            self.asked = Some(Asked { deed, code, since_ms: now_ms, tries_left: TRIES });
        }
        Ok(ways)
    }

    /// Somebody gives the code that the screen shows, or the secret.
    ///
    /// # Errors
    /// [`NotProven`]; the deed is then not to be done.
    pub fn prove(&mut self, deed: &Deed, given: &str, now_ms: u64) -> Result<Proof, NotProven> {
        self.forget_old(now_ms);
        let ways = self.ways();
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.deed == *deed) else {
            return Err(NotProven::NotAsked);
        };
        let given = given.trim();
        if ways.contains(&Proof::Code) && given == asked.code {
            self.asked = None;
            return Ok(Proof::Code);
        }
        if ways.contains(&Proof::Secret) && self.means.secret.as_deref() == Some(given) {
            self.asked = None;
            // It counts once.
            self.means.secret = None;
            return Ok(Proof::Secret);
        }
        asked.tries_left = asked.tries_left.saturating_sub(1);
        let tries_left = asked.tries_left;
        if tries_left == 0 {
            self.asked = None;
            self.locked_until_ms = now_ms.saturating_add(LOCK_MS);
            return Err(NotProven::Locked);
        }
        Err(NotProven::Wrong { tries_left })
    }

    /// The button was held while the deed's page was shown: it is to be done.
    pub fn held(&mut self, now_ms: u64) -> Option<Deed> {
        self.forget_old(now_ms);
        self.asked.take().map(|asked| asked.deed)
    }

    /// The button was pressed shortly while the deed's page was shown: it is not to be done.
    pub fn decline(&mut self) {
        self.asked = None;
    }

    /// What the screen shows instead of its pages, if anything; nothing on a box without a screen that works.
    pub fn page(&mut self, now_ms: u64) -> Option<DeedPage> {
        self.forget_old(now_ms);
        let asked = self.asked.as_ref().filter(|_| self.means.screen)?;
        let left_ms = PROVE_WITHIN_MS.saturating_sub(now_ms.saturating_sub(asked.since_ms));
        Some(DeedPage {
            deed: asked.deed.clone(),
            code: asked.code.clone(),
            button: self.means.button,
            left_s: left_ms.div_ceil(1_000),
        })
    }

    /// The button of a box whose screen is dark proves nothing: nobody saw what was asked.
    fn ways(&self) -> Vec<Proof> {
        let Means { screen, button, secret } = &self.means;
        match (screen, button) {
            (true, true) => vec![Proof::Button, Proof::Code],
            (true, false) => vec![Proof::Code],
            (false, true) => Vec::new(),
            (false, false) => secret.iter().map(|_| Proof::Secret).collect(),
        }
    }

    fn forget_old(&mut self, now_ms: u64) {
        let old = |asked: &Asked| now_ms.saturating_sub(asked.since_ms) >= PROVE_WITHIN_MS;
        if self.asked.as_ref().is_some_and(old) {
            self.asked = None;
        }
    }
}
