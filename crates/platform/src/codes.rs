//! A one-time code on the box's own screen, for a box that cannot send mail: shown to whoever stands before the box and
//! presses its button, and to nobody else.
//!
//! This is the trait only. Whoever implements it decides when the code is seen; the PDS only offers one.

use std::fmt;

use crate::DeviceError;

/// A code as it may be shown. No log and no status may hold it: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownCode(String);

impl ShownCode {
    /// Wraps the code.
    #[must_use]
    pub fn new(code: String) -> Self {
        Self(code)
    }

    /// Gives the code, for the screen.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ShownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownCode(..)")
    }
}

/// Everything that a code on the screen can do, as the screen says it. Offers cross from a program that faces the
/// internet to one that runs as root: only these words are shown.
pub const PURPOSES: [&str; 4] = [
    "confirm the e-mail address",
    "change the e-mail address",
    "DELETE THE ACCOUNT",
    "change keys or home of the account",
];

/// What a code is for and whom it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeOffer {
    /// What the signed-in owner asked for, to follow "the code to …": `confirm your e-mail address`.
    pub purpose: &'static str,
    /// The account's handle.
    pub account: String,
    /// The code.
    pub code: ShownCode,
}

/// A screen with a button beside it.
pub trait CodeScreen: Send + Sync + fmt::Debug {
    /// Asks whoever stands before the box to press the button, and shows the code after that. A newer offer takes the
    /// place of an older one.
    ///
    /// # Errors
    /// When there is no screen or no button that works now.
    fn offer(&self, offer: CodeOffer) -> Result<(), DeviceError>;
}
