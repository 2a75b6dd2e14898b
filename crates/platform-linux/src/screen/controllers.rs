//! The two display controllers: SSD1306 by the crate of that name, SH1106 by ourselves. Bytes only; what to show and
//! when to try again is decided elsewhere.

use display_interface::{DataFormat, DisplayError, WriteOnlyDataCommand};
use embedded_hal::i2c::I2c;
use platform::screen;
use ssd1306::{
    Ssd1306, command::AddrMode, mode::BasicMode, rotation::DisplayRotation, size::DisplaySize128x64,
};

use super::changes::{Pages, Run};

/// Most data bytes in one message: 64 and their head take 6 ms at 100 kHz, so that the clock chip on the same bus is
/// not kept waiting; fewer would cost more heads, and a full frame more than 1,100 bytes.
const DATA_BYTES_MAX: usize = 64;

/// Longest batch of commands in one message: the start-up of the SH1106.
const COMMAND_BYTES_MAX: usize = 32;

/// Control bytes: what follows is commands, or data (SSD1306 data sheet section 8.1.5.2).
const COMMANDS: u8 = 0x00;
const DATA: u8 = 0x40;

/// The bus did not take a message.
#[derive(Debug, thiserror::Error)]
#[error("the display does not answer on its bus")]
pub(super) struct NoAnswer;

/// A display at an address.
#[derive(Debug)]
pub(super) struct Wire<B> {
    bus: B,
    address: u8,
}

impl<B: I2c> Wire<B> {
    pub(super) fn new(bus: B, address: u8) -> Self {
        Self { bus, address }
    }

    fn message(&mut self, control: u8, bytes: &[u8]) -> Result<(), NoAnswer> {
        let mut message = Vec::with_capacity(1 + bytes.len());
        message.push(control);
        message.extend_from_slice(bytes);
        self.bus.write(self.address, &message).map_err(|_cause| NoAnswer)
    }

    fn commands(&mut self, bytes: &[u8]) -> Result<(), NoAnswer> {
        bytes.chunks(COMMAND_BYTES_MAX).try_for_each(|chunk| self.message(COMMANDS, chunk))
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), NoAnswer> {
        bytes.chunks(DATA_BYTES_MAX).try_for_each(|chunk| self.message(DATA, chunk))
    }
}

impl<B: I2c> WriteOnlyDataCommand for Wire<B> {
    fn send_commands(&mut self, bytes: DataFormat<'_>) -> Result<(), DisplayError> {
        let DataFormat::U8(bytes) = bytes else { return Err(DisplayError::DataFormatNotImplemented) };
        self.commands(bytes).map_err(|NoAnswer| DisplayError::BusWriteError)
    }

    fn send_data(&mut self, bytes: DataFormat<'_>) -> Result<(), DisplayError> {
        let DataFormat::U8(bytes) = bytes else { return Err(DisplayError::DataFormatNotImplemented) };
        self.data(bytes).map_err(|NoAnswer| DisplayError::BusWriteError)
    }
}

/// What both controllers can do.
pub(super) trait Controller: Send + std::fmt::Debug {
    /// Sets everything that a power loss would have lost, and leaves the display off.
    fn start(&mut self) -> Result<(), NoAnswer>;

    /// Sends one run of a picture.
    fn send(&mut self, pages: &Pages, run: Run) -> Result<(), NoAnswer>;

    /// Switches the pixels on or off.
    fn set_lit(&mut self, lit: bool) -> Result<(), NoAnswer>;
}

/// The bytes of a run; empty when the run lies outside.
fn bytes(pages: &Pages, run: Run) -> &[u8] {
    pages.get(run.page).and_then(|page| page.get(run.from..run.to)).unwrap_or_default()
}

fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// SSD1306 in horizontal addressing.
pub(super) struct Solomon<B> {
    driver: Ssd1306<Wire<B>, DisplaySize128x64, BasicMode>,
}

impl<B> std::fmt::Debug for Solomon<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Solomon")
    }
}

impl<B: I2c> Solomon<B> {
    pub(super) fn new(wire: Wire<B>, upside_down: bool) -> Self {
        let rotation = if upside_down { DisplayRotation::Rotate180 } else { DisplayRotation::Rotate0 };
        Self { driver: Ssd1306::new(wire, DisplaySize128x64, rotation) }
    }
}

impl<B: I2c + Send> Controller for Solomon<B> {
    fn start(&mut self) -> Result<(), NoAnswer> {
        self.driver.init_with_addr_mode(AddrMode::Horizontal).map_err(|_cause| NoAnswer)?;
        // The crate switches on at once; until the first picture is there the memory holds noise.
        self.set_lit(false)
    }

    fn send(&mut self, pages: &Pages, run: Run) -> Result<(), NoAnswer> {
        // Corners in pixels; the second lies outside the window.
        let upper_left = (small(run.from), small(run.page * 8));
        let lower_right = (small(run.to), small(run.page * 8 + 8));
        self.driver.set_draw_area(upper_left, lower_right).map_err(|_cause| NoAnswer)?;
        self.driver.draw(bytes(pages, run)).map_err(|_cause| NoAnswer)
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), NoAnswer> {
        self.driver.set_display_on(lit).map_err(|_cause| NoAnswer)
    }
}

/// SH1106: page addressing only, and the glass begins at column 2 (data sheet version 2.3, "Command Table").
#[derive(Debug)]
pub(super) struct SinoWealth<B> {
    wire: Wire<B>,
    upside_down: bool,
}

/// First of the 132 columns that a glass of 128 shows; the same from both sides.
const FIRST_COLUMN: usize = (132 - screen::WIDTH) / 2;

impl<B: I2c> SinoWealth<B> {
    pub(super) fn new(wire: Wire<B>, upside_down: bool) -> Self {
        Self { wire, upside_down }
    }
}

impl<B: I2c + Send + std::fmt::Debug> Controller for SinoWealth<B> {
    fn start(&mut self) -> Result<(), NoAnswer> {
        // Upright is remapped segments and the reversed scan on the usual module.
        let (segments, scan) = if self.upside_down { (0xa0, 0xc0) } else { (0xa1, 0xc8) };
        self.wire.commands(&[
            0xae, // off
            0xd5, 0x80, // clock as after reset
            0xa8, 0x3f, // 64 rows
            0xd3, 0x00, // no offset
            0x40, // start line 0
            0xad, 0x8b, // high voltage from the own converter
            segments, scan, 0xda, 0x12, // COM pins alternately
            0x81, 0x80, // contrast as after reset
            0xd9, 0x22, // pre-charge as after reset
            0xdb, 0x35, // deselect level as after reset
            0xa4, // what the memory says
            0xa6, // not inverse
        ])
    }

    fn send(&mut self, pages: &Pages, run: Run) -> Result<(), NoAnswer> {
        let column = small(run.from + FIRST_COLUMN);
        self.wire.commands(&[0xb0 | small(run.page), column & 0x0f, 0x10 | (column >> 4)])?;
        self.wire.data(bytes(pages, run))
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), NoAnswer> {
        self.wire.commands(&[if lit { 0xaf } else { 0xae }])
    }
}
