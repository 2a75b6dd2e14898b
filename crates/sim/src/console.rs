//! Standard input and output: commands come in as lines, the picture or plain lines go out.
//!
//! Standard output carries the `READY` line alone when headless; everything meant for a person who types goes to
//! standard error.

use std::io::{self, BufRead, IsTerminal, Write};
use std::thread;

use platform::{DeviceError, Frame, Screen};
use tokio::sync::mpsc;

use crate::terminal::{self, Style};

/// The longest line that is looked at; the rest of a longer one is thrown away, so that a file piped in by mistake
/// cannot fill the memory.
const LINE_BYTES_MAX: u64 = 4096;

/// How many lines may wait. Reading stops meanwhile; nothing is lost.
const LINES_WAITING: usize = 64;

/// The stack of the reading thread: it calls little and keeps nothing.
const STACK_BYTES: usize = 64 * 1024;

/// Reads lines of standard input on a thread of its own, since such a read cannot be cancelled.
///
/// The channel closes at the end of input; the thread is left to the end of the process.
pub fn lines() -> io::Result<mpsc::Receiver<String>> {
    let (sender, receiver) = mpsc::channel(LINES_WAITING);
    thread::Builder::new().name("stdin".to_owned()).stack_size(STACK_BYTES).spawn(move || {
        let mut input = io::stdin().lock();
        let mut bytes = Vec::new();
        while let Ok(Some(line)) = read_line(&mut input, &mut bytes) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// Reads one line; `None` at the end of input.
fn read_line(input: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<Option<String>> {
    bytes.clear();
    if io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', bytes)? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(bytes).into_owned();
    if bytes.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// Writes one line to standard output and flushes it, for whoever waits at the other end of a pipe.
pub fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Writes one line to standard error: the answer to a typed command.
pub fn answer(line: &str) {
    // With standard error closed there is nobody to tell.
    let Ok(()) = writeln!(io::stderr().lock(), "{line}") else { return };
}

/// The rows and columns of the terminal, when standard output is one.
fn terminal_size() -> Option<(usize, usize)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (terminal_size::Width(columns), terminal_size::Height(rows)) = terminal_size::terminal_size()?;
    Some((usize::from(columns), usize::from(rows)))
}

/// The screen, drawn in place at the top of a terminal.
#[derive(Debug)]
pub struct TerminalScreen {
    style: Style,
    rows: usize,
    /// The lines below the picture: addresses and keys.
    below: Vec<String>,
    last: Option<Frame>,
}

impl TerminalScreen {
    /// Takes the terminal over; `None` when standard output is none, or one too small to draw on.
    pub fn open(below: Vec<String>) -> Option<Self> {
        let (columns, rows) = terminal_size()?;
        let style = Style::for_size(columns, rows);
        let fixed = style.rows() + below.len();
        // Two lines to type and to read answers are the least.
        if columns < 66 || rows < fixed + 2 {
            return None;
        }
        write(&terminal::enter(fixed, rows)).ok()?;
        Some(Self { style, rows, below, last: None })
    }
}

impl Drop for TerminalScreen {
    fn drop(&mut self) {
        let Ok(()) = write(&terminal::leave(self.rows)) else { return };
    }
}

impl Screen for TerminalScreen {
    fn show(&mut self, frame: &Frame) -> Result<(), DeviceError> {
        if self.last.as_ref() == Some(frame) {
            return Ok(());
        }
        let mut lines = self.style.lines(frame);
        lines.extend(self.below.iter().cloned());
        write(&terminal::redraw(&lines)).map_err(|source| DeviceError::new("terminal", "draw", source))?;
        self.last = Some(frame.clone());
        Ok(())
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), DeviceError> {
        if lit { Ok(()) } else { self.show(&Frame::new()) }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_is_bounded_and_the_next_one_is_read() {
        let mut text = vec![b'x'; 100_000];
        text.extend_from_slice(b"\nhelp\n");
        let mut input = io::Cursor::new(text);
        let mut bytes = Vec::new();
        assert_eq!(read_line(&mut input, &mut bytes).unwrap().unwrap().len(), 4096);
        assert_eq!(read_line(&mut input, &mut bytes).unwrap().unwrap(), "help\n");
        assert_eq!(read_line(&mut input, &mut bytes).unwrap(), None);
    }
}
