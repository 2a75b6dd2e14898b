//! The 128x64 one-bit picture and the device that shows it.

use crate::DeviceError;

/// Pixels per row.
pub const WIDTH: usize = 128;
/// Rows.
pub const HEIGHT: usize = 64;
/// Bytes per row: eight pixels a byte, the leftmost in the highest bit.
pub const ROW_BYTES: usize = WIDTH / 8;
/// Bytes of a whole picture.
pub const FRAME_BYTES: usize = ROW_BYTES * HEIGHT;

/// A picture of 128x64 one-bit pixels, row by row from the top, leftmost pixel in the highest bit.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    bits: [u8; FRAME_BYTES],
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl Frame {
    /// Makes a dark picture.
    #[must_use]
    pub fn new() -> Self {
        Self { bits: [0; FRAME_BYTES] }
    }

    /// Takes a picture from its bytes.
    #[must_use]
    pub fn from_bytes(bits: [u8; FRAME_BYTES]) -> Self {
        Self { bits }
    }

    /// Gives the bytes of the picture.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; FRAME_BYTES] {
        &self.bits
    }

    /// Tells whether a pixel is lit; outside the picture none is.
    #[must_use]
    pub fn get(&self, x: usize, y: usize) -> bool {
        bit(x, y).is_some_and(|(at, mask)| self.bits.get(at).is_some_and(|byte| byte & mask != 0))
    }

    /// Lights a pixel or puts it out; outside the picture nothing happens, so that drawing may overhang.
    pub fn set(&mut self, x: usize, y: usize, on: bool) {
        let Some((at, mask)) = bit(x, y) else { return };
        if let Some(byte) = self.bits.get_mut(at) {
            if on {
                *byte |= mask;
            } else {
                *byte &= !mask;
            }
        }
    }

    /// Puts all pixels out.
    pub fn clear(&mut self) {
        self.bits.fill(0);
    }

    /// Writes the picture as 64 lines of `#` and `.`, for golden tests.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity((WIDTH + 1) * HEIGHT);
        for y in 0..HEIGHT {
            text.extend((0..WIDTH).map(|x| if self.get(x, y) { '#' } else { '.' }));
            text.push('\n');
        }
        text
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lit: u32 = self.bits.iter().map(|byte| byte.count_ones()).sum();
        write!(f, "Frame({lit} lit)")
    }
}

/// Finds the byte and the bit of a pixel.
fn bit(x: usize, y: usize) -> Option<(usize, u8)> {
    (x < WIDTH && y < HEIGHT).then(|| (y * ROW_BYTES + x / 8, 0x80 >> (x % 8)))
}

/// A small display.
pub trait Screen: Send + std::fmt::Debug {
    /// Shows a picture. Implementations send only what changed.
    ///
    /// # Errors
    /// When the bus fails; the caller tries again later and never stops for it.
    fn show(&mut self, frame: &Frame) -> Result<(), DeviceError>;

    /// Switches the pixels off against burn-in, or on again.
    ///
    /// # Errors
    /// As [`Screen::show`].
    fn set_lit(&mut self, lit: bool) -> Result<(), DeviceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_is_the_bit_that_the_layout_promises() {
        let mut frame = Frame::new();
        frame.set(0, 0, true);
        frame.set(127, 63, true);
        frame.set(9, 1, true);
        assert_eq!(frame.as_bytes()[0], 0x80);
        assert_eq!(frame.as_bytes()[FRAME_BYTES - 1], 0x01);
        assert_eq!(frame.as_bytes()[ROW_BYTES + 1], 0x40);
        frame.set(9, 1, false);
        assert!(!frame.get(9, 1));
    }

    #[test]
    fn drawing_outside_does_nothing() {
        let mut frame = Frame::new();
        frame.set(WIDTH, 0, true);
        frame.set(0, HEIGHT, true);
        assert_eq!(frame, Frame::new());
        assert!(!frame.get(WIDTH, 0));
    }

    #[test]
    fn text_has_one_character_per_pixel() {
        let mut frame = Frame::new();
        frame.set(1, 0, true);
        let text = frame.to_text();
        assert_eq!(text.lines().count(), HEIGHT);
        assert!(text.lines().all(|line| line.len() == WIDTH));
        assert!(text.starts_with(".#."));
    }
}
