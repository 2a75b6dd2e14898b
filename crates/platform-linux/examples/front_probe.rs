//! Drives screen, button and light of a board from a script: one command a line on standard input, one answer a line.
//! For guest tests and for the bench; no part of the box.
//!
//! `show FILE` (64 lines of `#` and `.`), `lit`, `dark`, `edges`, `down`, `led on`, `led off`.

use std::{env, fs, io, process::ExitCode};

use platform::{Board, Button, DeviceError, Frame, FrontDevices, Led, Screen};
use platform_linux::open_front;

/// What the board has and what could be opened.
struct Front {
    screen: Option<Box<dyn Screen>>,
    button: Option<Box<dyn Button>>,
    led: Option<Box<dyn Led>>,
    missing: Vec<DeviceError>,
}

fn main() -> ExitCode {
    let Some(text) = env::args().nth(1).and_then(|path| fs::read_to_string(path).ok()) else {
        return ExitCode::FAILURE;
    };
    let Ok(board) = Board::parse(&text) else { return ExitCode::FAILURE };
    let mut front = Front::open(&board);
    for line in io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = obey(&mut front, &words).unwrap_or_else(|error| format!("failed: {error}"));
        say(&answer);
    }
    ExitCode::SUCCESS
}

impl Front {
    fn open(board: &Board) -> Self {
        let mut devices = open_front(Some(board));
        let mut missing = Vec::new();
        let button = devices.button().unwrap_or_else(|error| {
            missing.push(error);
            None
        });
        let led = devices.led().unwrap_or_else(|error| {
            missing.push(error);
            None
        });
        Self { screen: devices.screen(), button, led, missing }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool: its output is its purpose")]
fn say(line: &str) {
    println!("{line}");
}

fn obey(front: &mut Front, words: &[&str]) -> Result<String, DeviceError> {
    let (screen, button, led) = (&mut front.screen, &mut front.button, &mut front.led);
    match words {
        ["show", path] => {
            let frame = frame(&fs::read_to_string(path).unwrap_or_default());
            screen.as_mut().map_or(Ok(()), |screen| screen.show(&frame))?;
        }
        [word @ ("lit" | "dark")] => {
            screen.as_mut().map_or(Ok(()), |screen| screen.set_lit(*word == "lit"))?;
        }
        ["led", word] => led.as_mut().map_or(Ok(()), |led| led.set(*word == "on"))?,
        ["down"] => {
            let down = button.as_mut().map_or(Ok(false), |button| button.is_down())?;
            return Ok(down.to_string());
        }
        ["edges"] => {
            let mut edges = String::new();
            while let Some(edge) = button.as_mut().map_or(Ok(None), |button| button.next_edge())? {
                edges.push_str(&format!("{}@{} ", if edge.down { "down" } else { "up" }, edge.boottime_ns));
            }
            return Ok(edges);
        }
        ["missing"] => return Ok(format!("{:?}", front.missing)),
        _ => return Ok("what?".to_owned()),
    }
    Ok("ok".to_owned())
}

/// Reads a golden picture.
fn frame(text: &str) -> Frame {
    let mut frame = Frame::new();
    for (y, line) in text.lines().enumerate() {
        for (x, pixel) in line.bytes().enumerate() {
            frame.set(x, y, pixel == b'#');
        }
    }
    frame
}
