//! Drawing onto a [`Frame`] with embedded-graphics: text that fits, bars and rules.
//!
//! Knows pixels and fonts; knows nothing of what the pages say.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::MonoFont;
use embedded_graphics::mono_font::MonoTextStyleBuilder;
use embedded_graphics::mono_font::ascii::{FONT_5X8, FONT_6X10, FONT_6X13_BOLD, FONT_7X13_BOLD};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::primitives::{Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use platform::screen::Frame;

use super::words::{self, ELLIPSIS};

/// The pixels per row and the rows, in the type that embedded-graphics counts in.
pub(crate) const WIDTH: i32 = 128;
pub(crate) const HEIGHT: i32 = 64;

/// The sizes of letters that the pages use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letters {
    /// 25 columns: the lines of a page.
    Small,
    /// 21 columns: titles.
    Medium,
    /// 21 columns, bold and taller.
    Bold,
    /// 18 columns, bold: the one thing a page is about.
    Large,
}

impl Letters {
    fn font(self) -> &'static MonoFont<'static> {
        match self {
            Self::Small => &FONT_5X8,
            Self::Medium => &FONT_6X10,
            Self::Bold => &FONT_6X13_BOLD,
            Self::Large => &FONT_7X13_BOLD,
        }
    }

    /// Tells whether `text` fits one line from the left margin without being cut.
    pub(crate) fn holds(self, text: &str) -> bool {
        i32::try_from(text.chars().count()).is_ok_and(|columns| columns * self.width() < WIDTH)
    }

    /// The width of one character cell in pixels.
    pub(crate) fn width(self) -> i32 {
        match self {
            Self::Small => 5,
            Self::Medium | Self::Bold => 6,
            Self::Large => 7,
        }
    }
}

/// Lit letters on dark, or dark letters on a lit bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Lit,
    Dark,
}

impl From<Ink> for BinaryColor {
    fn from(ink: Ink) -> Self {
        match ink {
            Ink::Lit => Self::On,
            Ink::Dark => Self::Off,
        }
    }
}

/// A frame being drawn.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    frame: Frame,
}

impl Canvas {
    /// Ends the drawing.
    pub(crate) fn into_frame(self) -> Frame {
        self.frame
    }

    /// Draws `text` with its upper left corner at (`x`, `y`), cut with an ellipsis at `right` (exclusive).
    pub(crate) fn text(&mut self, letters: Letters, ink: Ink, x: i32, y: i32, right: i32, text: &str) {
        let columns = usize::try_from((right - x).max(0) / letters.width()).unwrap_or(0);
        let shown = words::fit(text, columns);
        let style = MonoTextStyleBuilder::new().font(letters.font()).text_color(ink.into()).build();
        let plain = shown.replace([ELLIPSIS, '.'], " ");
        // The canvas accepts every pixel and clips, so drawing cannot fail.
        let Ok(_) = Text::with_baseline(&plain, Point::new(x, y), style, Baseline::Top).draw(self);
        let base = y + i32::try_from(letters.font().baseline).unwrap_or(0);
        for (column, character) in (0..).zip(shown.chars()) {
            let cell = x + column * letters.width();
            match character {
                ELLIPSIS => [0, 2, 4].into_iter().for_each(|dot| self.dot(cell + dot, base, ink)),
                // The fonts draw a full stop as a cross that hangs below the line; addresses need a clear one.
                '.' => self.fill(ink, cell + 1, base - 1, 2, 2),
                _ => {}
            }
        }
    }

    /// Draws `text` so that it ends just before `right`.
    pub(crate) fn text_right(&mut self, letters: Letters, ink: Ink, right: i32, y: i32, text: &str) {
        let width = i32::try_from(text.chars().count()).unwrap_or(0) * letters.width();
        self.text(letters, ink, (right - width).max(0), y, right, text);
    }

    /// Draws `text` in the middle of the span from `left` to `right`.
    pub(crate) fn text_middle(
        &mut self,
        letters: Letters,
        ink: Ink,
        left: i32,
        right: i32,
        y: i32,
        text: &str,
    ) {
        let width = i32::try_from(text.chars().count()).unwrap_or(0) * letters.width();
        let x = left + ((right - left - width) / 2).max(0);
        self.text(letters, ink, x, y, right, text);
    }

    /// Fills a rectangle.
    pub(crate) fn fill(&mut self, ink: Ink, x: i32, y: i32, width: u32, height: u32) {
        let style = PrimitiveStyle::with_fill(ink.into());
        let Ok(()) = Rectangle::new(Point::new(x, y), Size::new(width, height)).into_styled(style).draw(self);
    }

    /// Draws the outline of a rectangle, one pixel thick.
    pub(crate) fn outline(&mut self, x: i32, y: i32, width: u32, height: u32) {
        let style = PrimitiveStyle::with_stroke(BinaryColor::On, 1);
        let Ok(()) = Rectangle::new(Point::new(x, y), Size::new(width, height)).into_styled(style).draw(self);
    }

    fn dot(&mut self, x: i32, y: i32, ink: Ink) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        self.frame.set(x, y, ink == Ink::Lit);
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(WIDTH.unsigned_abs(), HEIGHT.unsigned_abs())
    }
}

impl DrawTarget for Canvas {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Self::Color>>,
    {
        for Pixel(point, color) in pixels {
            self.dot(point.x, point.y, if color.is_on() { Ink::Lit } else { Ink::Dark });
        }
        Ok(())
    }
}
