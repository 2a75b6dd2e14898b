//! An address as a QR code that a phone reads off the screen.

use qrcodegen::{QrCode, QrCodeEcc};

use super::canvas::{Canvas, Ink};

/// The pixels of one module's side. On a 0.96 inch screen a pixel is 0.17 mm; phones do not resolve single ones.
const MODULE: i32 = 2;

/// The modules of the largest code (version 3) that leaves a margin on a screen of 64 rows.
const MODULES_MAX: i32 = 29;

/// A QR code that fits the screen.
pub(crate) struct Code(QrCode);

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Code({} modules)", self.0.size())
    }
}

impl Code {
    /// Encodes `text`; `None` if it is too long (about 50 characters) for a code that fits.
    pub(crate) fn of(text: &str) -> Option<Self> {
        // The screen cannot be scratched or dirty in part, so the weakest correction does, and keeps the modules large.
        let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
        (!text.is_empty() && code.size() <= MODULES_MAX).then_some(Self(code))
    }

    /// Draws it in the middle of a lit square with its upper corner at (`left`, 0).
    pub(crate) fn draw(&self, canvas: &mut Canvas, left: i32, side: i32) {
        canvas.fill(Ink::Lit, left, 0, side.unsigned_abs(), side.unsigned_abs());
        let margin = (side - self.0.size() * MODULE) / 2;
        for y in 0..self.0.size() {
            for x in 0..self.0.size() {
                if self.0.get_module(x, y) {
                    let edge = MODULE.unsigned_abs();
                    canvas.fill(Ink::Dark, left + margin + x * MODULE, margin + y * MODULE, edge, edge);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_fit_the_screen_are_made() {
        assert!(Code::of("http://192.168.1.20:8080").is_some());
        assert!(Code::of(&format!("http://{}", "x".repeat(40))).is_some());
        assert!(Code::of(&format!("http://{}", "x".repeat(80))).is_none());
        assert!(Code::of("").is_none());
    }
}
