//! Turns the bytes that a driver sends to a display into the picture that a person would see.
//!
//! Two controllers on the usual 128x64 glass: Solomon Systech SSD1306 (data sheet revision 1.1; sections are named at
//! each command) and Sino Wealth SH1106 (data sheet version 2.3). A command that the controller does not know, or a
//! setting with which this glass would show a torn picture, is kept as a complaint.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform::screen::{Frame, HEIGHT, WIDTH};

use super::I2cDevice;

/// Pages of eight rows.
const PAGES: usize = 8;
/// Columns of the SH1106's memory; the SSD1306 has 128.
const COLUMNS_MAX: usize = 132;
/// First column of the SH1106 that this glass is wired to.
const SH1106_FIRST: usize = 2;
/// Control byte (SSD1306 section 8.1.5.2): one byte follows and then another control byte; what follows is data.
const CONTINUES: u8 = 0x80;
const IS_DATA: u8 = 0x40;
/// Complaints that are kept.
const COMPLAINTS_MAX: usize = 100;

/// Which controller is behind the glass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// 128 columns, three addressing modes, a charge pump by command 8Dh.
    Ssd1306,
    /// 132 columns, page addressing only, a converter by command ADh.
    Sh1106,
}

/// How written bytes move the pointer (SSD1306 section 10.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Horizontal,
    Vertical,
    Page,
}

#[derive(Debug)]
struct Glass {
    controller: Controller,
    /// By segment, not by column: a remap changes only what is written after it (section 10.1.8).
    memory: [[u8; COLUMNS_MAX]; PAGES],
    mode: Mode,
    column: usize,
    columns: (usize, usize),
    page: usize,
    pages: (usize, usize),
    is_on: bool,
    is_powered: bool,
    all_on: bool,
    inverse: bool,
    segments_remapped: bool,
    scan_reversed: bool,
    start_line: usize,
    offset: usize,
    rows: usize,
    contrast: u8,
    command: Vec<u8>,
    complaints: Vec<String>,
}

/// A display; clones are the same display.
#[derive(Clone, Debug)]
pub struct Oled {
    glass: Arc<Mutex<Glass>>,
}

impl Oled {
    /// Makes a display as it is after power-up: off, its memory full of noise.
    #[must_use]
    pub fn new(controller: Controller) -> Self {
        Self { glass: Arc::new(Mutex::new(Glass::new(controller))) }
    }

    /// Gives what a person sees; dark while the display is off or its high voltage is.
    #[must_use]
    pub fn picture(&self) -> Frame {
        self.lock().picture()
    }

    /// What was sent that this display does not understand or cannot show.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// Takes its power away for a moment: settings and memory are lost.
    pub fn lose_power(&self) {
        let mut glass = self.lock();
        *glass = Glass::new(glass.controller);
    }

    fn lock(&self) -> MutexGuard<'_, Glass> {
        self.glass.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl I2cDevice for Oled {
    fn write(&mut self, bytes: &[u8]) -> bool {
        let mut glass = self.lock();
        let mut rest = bytes;
        while let Some((control, after)) = rest.split_first() {
            let length = if control & CONTINUES != 0 { after.len().min(1) } else { after.len() };
            let (now, later) = after.split_at(length);
            for byte in now {
                if control & IS_DATA != 0 { glass.data(*byte) } else { glass.command_byte(*byte) }
            }
            rest = later;
        }
        true
    }

    /// The status register (section 10.1.21): bit 6 is set while the display is off.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        buffer.fill(if self.lock().is_on { 0 } else { 0x40 });
        true
    }
}

impl Glass {
    fn new(controller: Controller) -> Self {
        let mut memory = [[0; COLUMNS_MAX]; PAGES];
        for (number, byte) in (0_u8..=255).cycle().zip(memory.iter_mut().flatten()) {
            *byte = number.wrapping_mul(151) ^ 0x5a;
        }
        Self {
            controller,
            memory,
            mode: Mode::Page,
            column: 0,
            columns: (0, WIDTH - 1),
            page: 0,
            pages: (0, PAGES - 1),
            is_on: false,
            is_powered: false,
            all_on: false,
            inverse: false,
            segments_remapped: false,
            scan_reversed: false,
            start_line: 0,
            offset: 0,
            rows: HEIGHT,
            contrast: 0x7f,
            command: Vec::new(),
            complaints: Vec::new(),
        }
    }

    fn complain(&mut self, text: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(text);
        }
    }

    /// Bytes that follow the first of a command (SSD1306 table 9-1; SH1106 "Command Table").
    fn arguments(&self, first: u8) -> usize {
        match (self.controller, first) {
            (_, 0x81 | 0xa8 | 0xd3 | 0xd5 | 0xd9 | 0xda | 0xdb) => 1,
            (Controller::Ssd1306, 0x20 | 0x8d) | (Controller::Sh1106, 0xad) => 1,
            (Controller::Ssd1306, 0x21 | 0x22 | 0xa3) => 2,
            (Controller::Ssd1306, 0x29 | 0x2a) => 5,
            (Controller::Ssd1306, 0x26 | 0x27) => 6,
            _ => 0,
        }
    }

    fn command_byte(&mut self, byte: u8) {
        self.command.push(byte);
        let first = self.command.first().copied().unwrap_or_default();
        if self.command.len() <= self.arguments(first) {
            return;
        }
        let command = std::mem::take(&mut self.command);
        let argument = |at: usize| command.get(at).copied().unwrap_or_default();
        if !self.common(first, argument(1)) && !self.own(first, argument(1), argument(2)) {
            self.complain(format!("command {first:#04x} is unknown to {:?}", self.controller));
        }
    }

    /// Commands that both controllers have; false when it is none.
    fn common(&mut self, first: u8, argument: u8) -> bool {
        let low = |bits: u8| usize::from(first & bits);
        match first {
            // 10.1.1 and 10.1.2: column of page addressing, low and high four bits.
            0x00..=0x0f => self.column = (self.column & 0xf0) | low(0x0f),
            0x10..=0x1f => self.column = (self.column & 0x0f) | (low(0x0f) << 4),
            // 10.1.6: start line.
            0x40..=0x7f => self.start_line = low(0x3f),
            // 10.1.7: contrast.
            0x81 => self.contrast = argument,
            // 10.1.8: segment remap.
            0xa0 | 0xa1 => self.segments_remapped = first == 0xa1,
            // 10.1.9: entire display on.
            0xa4 | 0xa5 => self.all_on = first == 0xa5,
            // 10.1.10: inverse.
            0xa6 | 0xa7 => self.inverse = first == 0xa7,
            // 10.1.11: multiplex ratio.
            0xa8 => {
                self.rows = usize::from(argument & 0x3f) + 1;
                if self.rows != HEIGHT {
                    self.complain(format!("{} rows on a glass of {HEIGHT}", self.rows));
                }
            }
            // 10.1.12: on and off.
            0xae | 0xaf => self.is_on = first == 0xaf,
            // 10.1.13: page of page addressing.
            0xb0..=0xb7 => self.page = low(0x07),
            // 10.1.14: scan direction.
            0xc0..=0xcf => self.scan_reversed = first & 0x08 != 0,
            // 10.1.15: display offset.
            0xd3 => self.offset = usize::from(argument & 0x3f),
            // 10.1.16, 10.1.17, 10.1.19, 10.1.20: clock, pre-charge, deselect level, nothing.
            0xd5 | 0xd9 | 0xdb | 0xe3 => {}
            // 10.1.18: COM pins; a glass of 64 rows is wired alternately, not swapped.
            0xda => {
                if argument != 0x12 {
                    self.complain(format!("COM pins {argument:#04x} tear the picture on 64 rows"));
                }
            }
            _ => return false,
        }
        true
    }

    fn own(&mut self, first: u8, one: u8, two: u8) -> bool {
        let last_column = WIDTH - 1;
        match (self.controller, first) {
            // 10.1.3: addressing mode.
            (Controller::Ssd1306, 0x20) => match one & 3 {
                0 => self.mode = Mode::Horizontal,
                1 => self.mode = Mode::Vertical,
                2 => self.mode = Mode::Page,
                _ => self.complain("addressing mode 3 does not exist".to_owned()),
            },
            // 10.1.4 and 10.1.5: the window of horizontal and vertical addressing; the pointer goes to its start.
            (Controller::Ssd1306, 0x21) => {
                self.columns = (usize::from(one) & last_column, usize::from(two) & last_column);
                self.column = self.columns.0;
            }
            (Controller::Ssd1306, 0x22) => {
                self.pages = (usize::from(one & 7), usize::from(two & 7));
                self.page = self.pages.0;
            }
            // Application note "Charge Pump Setting".
            (Controller::Ssd1306, 0x8d) => self.is_powered = one & 0x04 != 0,
            // 10.2.3: scrolling off; on would move what a person sees.
            (Controller::Ssd1306, 0x2e) => {}
            (Controller::Ssd1306, 0x26 | 0x27 | 0x29 | 0x2a | 0x2f | 0xa3) => {
                self.complain(format!("scrolling by {first:#04x} is not modelled"));
            }
            // "DC-DC Control Mode Set" and "Pump voltage value".
            (Controller::Sh1106, 0xad) => self.is_powered = one == 0x8b,
            (Controller::Sh1106, 0x30..=0x33) => {}
            _ => return false,
        }
        true
    }

    fn data(&mut self, byte: u8) {
        let segment = self.segment(self.column);
        match segment.and_then(|at| self.memory.get_mut(self.page)?.get_mut(at)) {
            Some(cell) => *cell = byte,
            None => self.complain(format!("data beyond the memory: column {}", self.column)),
        }
        self.advance();
    }

    /// The segment that a column drives, with the remap of now.
    fn segment(&self, column: usize) -> Option<usize> {
        let last = self.columns_in_memory() - 1;
        let segment = if self.segments_remapped { last.checked_sub(column)? } else { column };
        (segment <= last).then_some(segment)
    }

    fn columns_in_memory(&self) -> usize {
        match self.controller {
            Controller::Ssd1306 => WIDTH,
            Controller::Sh1106 => COLUMNS_MAX,
        }
    }

    fn advance(&mut self) {
        let next =
            |value: usize, (first, last): (usize, usize)| if value >= last { first } else { value + 1 };
        match (self.controller, self.mode) {
            // The SH1106 stops behind its last column; writing there is a mistake of the driver.
            (Controller::Sh1106, _) => self.column += 1,
            (Controller::Ssd1306, Mode::Page) => self.column = next(self.column, (0, WIDTH - 1)),
            (Controller::Ssd1306, Mode::Horizontal) => {
                if self.column >= self.columns.1 {
                    self.page = next(self.page, self.pages);
                }
                self.column = next(self.column, self.columns);
            }
            (Controller::Ssd1306, Mode::Vertical) => {
                if self.page >= self.pages.1 {
                    self.column = next(self.column, self.columns);
                }
                self.page = next(self.page, self.pages);
            }
        }
    }

    /// On the usual module the left edge is the highest segment and the upper edge the highest COM: upright needs
    /// remapped segments and the reversed scan.
    fn picture(&self) -> Frame {
        let mut frame = Frame::new();
        if !self.is_on || !self.is_powered {
            return frame;
        }
        let first = if self.controller == Controller::Sh1106 { SH1106_FIRST } else { 0 };
        for y in 0..HEIGHT {
            let scanned = if self.scan_reversed { y } else { HEIGHT - 1 - y };
            let row = (scanned + self.start_line + self.offset) % HEIGHT;
            for x in 0..WIDTH {
                let segment = first + WIDTH - 1 - x;
                let byte = self.memory.get(row / 8).and_then(|page| page.get(segment)).copied();
                let stored = self.all_on || byte.unwrap_or_default() >> (row % 8) & 1 == 1;
                frame.set(x, y, stored != self.inverse);
            }
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start-up that the data sheet's software flow chart (figure 2, "Software Initialization Flow") gives.
    const SSD1306_UP: &[u8] = &[
        0x00, 0xa8, 0x3f, 0xd3, 0x00, 0x40, 0xa1, 0xc8, 0xda, 0x12, 0x81, 0x7f, 0xa4, 0xa6, 0xd5, 0x80, 0x8d,
        0x14, 0xaf,
    ];
    const SH1106_UP: &[u8] = &[0x00, 0xa8, 0x3f, 0xd3, 0x00, 0x40, 0xa1, 0xc8, 0xda, 0x12, 0xad, 0x8b, 0xaf];

    fn up(controller: Controller) -> Oled {
        let mut oled = Oled::new(controller);
        oled.write(if controller == Controller::Ssd1306 { SSD1306_UP } else { SH1106_UP });
        blank(&mut oled);
        oled
    }

    fn blank(oled: &mut Oled) {
        let first = if oled.lock().controller == Controller::Sh1106 { 2 } else { 0 };
        for page in 0..8 {
            oled.write(&[0x00, 0xb0 | page, first, 0x10]);
            let mut line = vec![0x40];
            line.resize(129, 0);
            oled.write(&line);
        }
    }

    fn lit(oled: &Oled) -> Vec<(usize, usize)> {
        let frame = oled.picture();
        (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))).filter(|(x, y)| frame.get(*x, *y)).collect()
    }

    #[test]
    fn page_addressing_as_in_10_1_1_to_10_1_3_and_10_1_13() {
        let mut oled = up(Controller::Ssd1306);
        oled.write(&[0x00, 0xb2, 0x05, 0x17]);
        oled.write(&[0x40, 0x01, 0x80]);
        assert_eq!(lit(&oled), [(0x75, 16), (0x76, 23)]);
        // At the last column the pointer goes to the first of the same page.
        oled.write(&[0x00, 0xb0, 0x0f, 0x17]);
        oled.write(&[0x40, 0x01, 0x01]);
        assert_eq!(lit(&oled)[..2], [(0, 0), (127, 0)]);
        assert!(oled.complaints().is_empty());
    }

    #[test]
    fn horizontal_addressing_wraps_in_its_window_as_in_10_1_3() {
        let mut oled = up(Controller::Ssd1306);
        oled.write(&[0x00, 0x20, 0x00, 0x21, 10, 11, 0x22, 1, 2]);
        oled.write(&[0x40, 1, 2, 4, 8, 16]);
        // The fifth byte overwrites the first.
        assert_eq!(lit(&oled), [(11, 9), (10, 12), (10, 18), (11, 19)]);
    }

    #[test]
    fn vertical_addressing_goes_down_first_as_in_10_1_3() {
        let mut oled = up(Controller::Ssd1306);
        oled.write(&[0x00, 0x20, 0x01, 0x21, 10, 11, 0x22, 1, 2]);
        oled.write(&[0x40, 1, 2, 4, 8]);
        assert_eq!(lit(&oled), [(10, 8), (11, 10), (10, 17), (11, 19)]);
    }

    #[test]
    fn remap_turns_what_is_written_later_and_scan_turns_at_once_as_in_10_1_8_and_10_1_14() {
        let mut oled = up(Controller::Ssd1306);
        oled.write(&[0x00, 0xb0, 0x00, 0x10]);
        oled.write(&[0x40, 0x01]);
        oled.write(&[0x00, 0xa0]);
        assert_eq!(lit(&oled), [(0, 0)]);
        oled.write(&[0x00, 0xb0, 0x00, 0x10]);
        oled.write(&[0x40, 0x01]);
        assert_eq!(lit(&oled), [(0, 0), (127, 0)]);
        oled.write(&[0x00, 0xc0]);
        assert_eq!(lit(&oled), [(0, 63), (127, 63)]);
    }

    #[test]
    fn start_line_offset_inverse_and_all_on_as_in_10_1_6_9_10_15() {
        let mut oled = up(Controller::Ssd1306);
        oled.write(&[0x00, 0xb0, 0x00, 0x10]);
        oled.write(&[0x40, 0x10]);
        oled.write(&[0x00, 0x41]);
        assert_eq!(lit(&oled), [(0, 3)]);
        oled.write(&[0x00, 0xd3, 0x02]);
        assert_eq!(lit(&oled), [(0, 1)]);
        oled.write(&[0x00, 0xa7]);
        assert_eq!(lit(&oled).len(), WIDTH * HEIGHT - 1);
        oled.write(&[0x00, 0xa6, 0xa5]);
        assert_eq!(lit(&oled).len(), WIDTH * HEIGHT);
    }

    #[test]
    fn control_bytes_switch_in_one_message_as_in_8_1_5_2() {
        let mut oled = up(Controller::Ssd1306);
        oled.write(&[0x80, 0xb1, 0x80, 0x03, 0x80, 0x10, 0x40, 0x01]);
        assert_eq!(lit(&oled), [(3, 8)]);
    }

    #[test]
    fn dark_without_power_or_when_off_as_in_10_1_12() {
        for cut in [0xae_u8, 0x8d] {
            let mut oled = up(Controller::Ssd1306);
            oled.write(&[0x00, 0xa5]);
            oled.write(&[0x00, cut, 0x10]);
            assert!(lit(&oled).is_empty(), "{cut:#x}");
        }
        let mut oled = up(Controller::Sh1106);
        oled.write(&[0x00, 0xa5, 0xad, 0x8a]);
        assert!(lit(&oled).is_empty());
    }

    #[test]
    fn the_sh1106_shows_columns_2_to_129_and_knows_no_window() {
        let mut oled = up(Controller::Sh1106);
        oled.write(&[0x00, 0xb0, 0x01, 0x10]);
        oled.write(&[0x40, 0x01, 0x02]);
        assert_eq!(lit(&oled), [(0, 1)]);
        assert!(oled.complaints().is_empty());
        oled.write(&[0x00, 0x21, 0x00, 0x7f]);
        oled.write(&[0x00, 0x8d, 0x14]);
        assert!(oled.complaints().len() >= 2, "{:?}", oled.complaints());
    }

    #[test]
    fn settings_that_tear_the_picture_are_complained_about() {
        let mut oled = up(Controller::Ssd1306);
        oled.write(&[0x00, 0xda, 0x02]);
        oled.write(&[0x00, 0xa8, 0x1f]);
        oled.write(&[0x00, 0xfe]);
        assert_eq!(oled.complaints().len(), 3);
    }

    #[test]
    fn power_loss_forgets_everything() {
        let mut oled = up(Controller::Ssd1306);
        oled.lose_power();
        assert!(lit(&oled).is_empty());
        let mut status = [0];
        assert!(oled.read(&mut status));
        assert_eq!(status, [0x40]);
    }
}
