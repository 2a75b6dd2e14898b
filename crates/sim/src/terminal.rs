//! The screen in a terminal: frames as block characters, redrawn in place above the line where commands are typed.
//!
//! Makes text only; the caller writes it to standard output.

use platform::screen::{Frame, HEIGHT, WIDTH};

/// How a frame is turned into characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Two pixels a character, one above the other: square pixels, 130 columns.
    HalfBlocks,
    /// Eight pixels a character: square pixels on a small terminal, 66 columns.
    Braille,
}

/// The columns and rows that lines other than the picture need: a border, the addresses, and room to type.
const BORDER: usize = 2;
const LINES_BELOW: usize = 8;

impl Style {
    /// Chooses the largest style that a terminal of this size holds.
    pub fn for_size(columns: usize, rows: usize) -> Self {
        if columns >= WIDTH + BORDER && rows >= HEIGHT / 2 + BORDER + LINES_BELOW {
            Self::HalfBlocks
        } else {
            Self::Braille
        }
    }

    /// The rows of a picture with its border.
    pub fn rows(self) -> usize {
        BORDER
            + match self {
                Self::HalfBlocks => HEIGHT / 2,
                Self::Braille => HEIGHT / 4,
            }
    }

    /// Draws `frame` with a border, one string per row.
    pub fn lines(self, frame: &Frame) -> Vec<String> {
        let (cell_width, cell_height) = match self {
            Self::HalfBlocks => (1, 2),
            Self::Braille => (2, 4),
        };
        let columns = WIDTH / cell_width;
        let edge = "\u{2500}".repeat(columns);
        let mut lines = vec![format!("\u{256d}{edge}\u{256e}")];
        for y in (0..HEIGHT).step_by(cell_height) {
            let row: String = (0..WIDTH)
                .step_by(cell_width)
                .map(|x| match self {
                    Self::HalfBlocks => half_block(frame, x, y),
                    Self::Braille => braille(frame, x, y),
                })
                .collect();
            lines.push(format!("\u{2502}{row}\u{2502}"));
        }
        lines.push(format!("\u{2570}{edge}\u{256f}"));
        lines
    }
}

fn half_block(frame: &Frame, x: usize, y: usize) -> char {
    match (frame.get(x, y), frame.get(x, y + 1)) {
        (true, true) => '\u{2588}',
        (true, false) => '\u{2580}',
        (false, true) => '\u{2584}',
        (false, false) => ' ',
    }
}

fn braille(frame: &Frame, x: usize, y: usize) -> char {
    /// The dots of a braille cell in the order of their bits (Unicode 15, block Braille Patterns).
    const DOTS: [(usize, usize); 8] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
    let mut bits = 0_u32;
    for (bit, (dx, dy)) in DOTS.into_iter().enumerate() {
        if frame.get(x + dx, y + dy) {
            bits |= 1 << bit;
        }
    }
    char::from_u32(0x2800 + bits).unwrap_or(' ')
}

/// Clears the terminal and keeps its first `fixed` of `rows` rows from scrolling; typing goes on below them.
pub fn enter(fixed: usize, rows: usize) -> String {
    let top = fixed + 1;
    format!("\x1b[2J\x1b[{top};{rows}r\x1b[{top};1H")
}

/// Writes `lines` at the top of the terminal and leaves the cursor where the owner types.
pub fn redraw(lines: &[String]) -> String {
    let mut text = String::from("\x1b7\x1b[?25l");
    for (row, line) in (1..).zip(lines) {
        text.push_str(&format!("\x1b[{row};1H{line}\x1b[K"));
    }
    text.push_str("\x1b[?25h\x1b8");
    text
}

/// Gives the terminal back as it was, with the cursor on its last row.
pub fn leave(rows: usize) -> String {
    format!("\x1b[r\x1b[{rows};1H\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corner() -> Frame {
        let mut frame = Frame::new();
        frame.set(0, 0, true);
        frame.set(1, 3, true);
        frame.set(127, 63, true);
        frame
    }

    #[test]
    fn half_blocks_show_two_pixels_a_character() {
        let lines = Style::HalfBlocks.lines(&corner());
        assert_eq!(lines.len(), Style::HalfBlocks.rows());
        assert!(lines.iter().all(|line| line.chars().count() == 130));
        assert!(lines[1].starts_with("\u{2502}\u{2580} "));
        assert!(lines[2].starts_with("\u{2502} \u{2584}"));
        assert!(lines[32].ends_with("\u{2584}\u{2502}"));
    }

    #[test]
    fn braille_shows_eight_pixels_a_character() {
        let lines = Style::Braille.lines(&corner());
        assert_eq!(lines.len(), Style::Braille.rows());
        assert!(lines.iter().all(|line| line.chars().count() == 66));
        // Dot 1 is the upper left pixel, dot 8 the lower right one.
        assert_eq!(lines[1].chars().nth(1), Some('\u{2881}'));
        assert_eq!(lines[16].chars().nth(64), Some('\u{2880}'));
    }

    #[test]
    fn small_terminals_get_the_small_picture() {
        assert_eq!(Style::for_size(80, 24), Style::Braille);
        assert_eq!(Style::for_size(160, 50), Style::HalfBlocks);
        assert_eq!(Style::for_size(160, 30), Style::Braille);
    }
}
