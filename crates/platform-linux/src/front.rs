//! The button and the light: rppal on the models that it knows, the kernel's GPIO character device everywhere else.
//!
//! Edges carry the kernel's own time stamp. What a press means is decided elsewhere.

use std::{io, time::Duration};

use gpiocdev::{
    Request,
    line::{Bias, EdgeDetection, EdgeKind, EventClock, Value},
};
use platform::{
    Board, Button, DeviceError, Edge, FrontDevices, Led, Screen,
    board::{Gpio, LineWiring},
};
use rppal::gpio::{InputPin, OutputPin, Trigger};

use crate::screen::LinuxScreen;

/// Time in which the contacts of a cheap push button may bounce; a person's shortest press is 50 ms.
const DEBOUNCE: Duration = Duration::from_millis(10);

/// Name under which the kernel lists our lines.
const CONSUMER: &str = "perch";

/// The front of a board, as its `board.toml` wires it.
#[derive(Clone, Debug)]
pub struct LinuxFront {
    board: Option<Board>,
}

/// Gives what opens screen, button and light as the board names them; a machine that is no known board has none.
#[must_use]
pub fn open_front(board: Option<&Board>) -> LinuxFront {
    LinuxFront { board: board.cloned() }
}

impl FrontDevices for LinuxFront {
    fn screen(&mut self) -> Option<Box<dyn Screen>> {
        let wiring = self.board.as_ref()?.screen.clone()?;
        Some(Box::new(LinuxScreen::new(wiring)))
    }

    fn button(&mut self) -> Result<Option<Box<dyn Button>>, DeviceError> {
        let Some(board) = &self.board else { return Ok(None) };
        board.button.as_ref().map(|line| open_button(board.gpio, line)).transpose()
    }

    fn led(&mut self) -> Result<Option<Box<dyn Led>>, DeviceError> {
        let Some(board) = &self.board else { return Ok(None) };
        board.led.as_ref().map(|line| open_led(board.gpio, line)).transpose()
    }
}

fn open_button(gpio: Gpio, line: &LineWiring) -> Result<Box<dyn Button>, DeviceError> {
    let on_pi = || RppalButton::open(line).map(|button| Box::new(button) as Box<dyn Button>);
    let anywhere = || CdevButton::open(line).map(|button| Box::new(button) as Box<dyn Button>);
    open_line(gpio, on_pi, anywhere).map_err(|cause| DeviceError::new("button", "open", cause))
}

fn open_led(gpio: Gpio, line: &LineWiring) -> Result<Box<dyn Led>, DeviceError> {
    let on_pi = || RppalLed::open(line).map(|led| Box::new(led) as Box<dyn Led>);
    let anywhere = || CdevLed::open(line).map(|led| Box::new(led) as Box<dyn Led>);
    open_line(gpio, on_pi, anywhere).map_err(|cause| DeviceError::new("light", "open", cause))
}

/// Opens a line the way the board names. rppal needs `/dev/gpiomem`, which only the Raspberry Pi kernel has; on a Pi with
/// another kernel the line is the character device's.
fn open_line<T>(
    gpio: Gpio,
    on_pi: impl FnOnce() -> io::Result<T>,
    anywhere: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    match gpio {
        Gpio::Gpiocdev => anywhere(),
        Gpio::Rppal => on_pi().or_else(|refused| anywhere().map_err(|_none| refused)),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The chip with a label, such as `pinctrl-bcm2711`; its number is the order of probing and means nothing.
fn chip_path(label: &str) -> io::Result<std::path::PathBuf> {
    for path in gpiocdev::chip::chips().map_err(io::Error::other)? {
        let info = gpiocdev::chip::Chip::from_path(&path).and_then(|chip| chip.info());
        if info.is_ok_and(|info| info.label == label) {
            return Ok(path);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no GPIO chip is called {label}")))
}

fn request(line: &LineWiring) -> io::Result<gpiocdev::request::Builder> {
    let mut builder = Request::builder();
    builder.with_consumer(CONSUMER).on_chip(chip_path(&line.chip)?).with_line(line.line);
    if line.active_low {
        builder.as_active_low();
    }
    Ok(builder)
}

/// A button on the kernel's character device.
#[derive(Debug)]
struct CdevButton {
    request: Request,
}

impl CdevButton {
    fn open(line: &LineWiring) -> io::Result<Self> {
        let mut builder = request(line)?;
        let bias = if line.active_low { Bias::PullUp } else { Bias::PullDown };
        builder
            .as_input()
            .with_bias(bias)
            .with_edge_detection(EdgeDetection::BothEdges)
            .with_event_clock(EventClock::Monotonic)
            .with_debounce_period(DEBOUNCE);
        Ok(Self { request: builder.request().map_err(io::Error::other)? })
    }
}

impl Button for CdevButton {
    fn next_edge(&mut self) -> Result<Option<Edge>, DeviceError> {
        let failed = |cause| DeviceError::new("button", "read an edge", io::Error::other(cause));
        if !self.request.has_edge_event().map_err(failed)? {
            return Ok(None);
        }
        let event = self.request.read_edge_event().map_err(failed)?;
        // The line is active low where the button pulls it down, so a rising edge is always the press.
        Ok(Some(Edge { down: event.kind == EdgeKind::Rising, boottime_ns: on_boottime(event.timestamp_ns) }))
    }

    fn is_down(&mut self) -> Result<bool, DeviceError> {
        let value = self.request.lone_value();
        let value =
            value.map_err(|cause| DeviceError::new("button", "read its line", io::Error::other(cause)))?;
        Ok(value == Value::Active)
    }
}

/// Turns a stamp of CLOCK_MONOTONIC, which stands still while the machine sleeps, into one of CLOCK_BOOTTIME.
fn on_boottime(monotonic_ns: u64) -> u64 {
    let now = |clock: nix::time::ClockId| clock.now().map(Duration::from).ok();
    let (Some(boot), Some(monotonic)) =
        (now(nix::time::ClockId::CLOCK_BOOTTIME), now(nix::time::ClockId::CLOCK_MONOTONIC))
    else {
        return monotonic_ns;
    };
    monotonic_ns.saturating_add(nanoseconds(boot.saturating_sub(monotonic)))
}

/// A light on the kernel's character device.
#[derive(Debug)]
struct CdevLed {
    request: Request,
}

impl CdevLed {
    fn open(line: &LineWiring) -> io::Result<Self> {
        let mut builder = request(line)?;
        builder.as_output(Value::Inactive);
        Ok(Self { request: builder.request().map_err(io::Error::other)? })
    }
}

impl Led for CdevLed {
    fn set(&mut self, on: bool) -> Result<(), DeviceError> {
        let value = if on { Value::Active } else { Value::Inactive };
        let set = self.request.set_lone_value(value);
        set.map(drop).map_err(|cause| DeviceError::new("light", "switch", io::Error::other(cause)))
    }
}

/// A button on a Pi.
#[derive(Debug)]
struct RppalButton {
    pin: InputPin,
    active_low: bool,
}

fn rppal_pin(line: &LineWiring) -> io::Result<rppal::gpio::Pin> {
    let number = u8::try_from(line.line).map_err(io::Error::other)?;
    rppal::gpio::Gpio::new().and_then(|gpio| gpio.get(number)).map_err(io::Error::other)
}

impl RppalButton {
    fn open(line: &LineWiring) -> io::Result<Self> {
        let pin = rppal_pin(line)?;
        let mut pin = if line.active_low { pin.into_input_pullup() } else { pin.into_input_pulldown() };
        pin.set_interrupt(Trigger::Both, Some(DEBOUNCE)).map_err(io::Error::other)?;
        Ok(Self { pin, active_low: line.active_low })
    }
}

impl Button for RppalButton {
    fn next_edge(&mut self) -> Result<Option<Edge>, DeviceError> {
        let event = self.pin.poll_interrupt(false, Some(Duration::ZERO));
        let event =
            event.map_err(|cause| DeviceError::new("button", "read an edge", io::Error::other(cause)))?;
        Ok(event.map(|event| {
            let rising = event.trigger == Trigger::RisingEdge;
            Edge { down: rising != self.active_low, boottime_ns: on_boottime(nanoseconds(event.timestamp)) }
        }))
    }

    fn is_down(&mut self) -> Result<bool, DeviceError> {
        Ok(self.pin.is_low() == self.active_low)
    }
}

/// A light on a Pi.
#[derive(Debug)]
struct RppalLed {
    pin: OutputPin,
    active_low: bool,
}

impl RppalLed {
    fn open(line: &LineWiring) -> io::Result<Self> {
        let pin = rppal_pin(line)?;
        let pin = if line.active_low { pin.into_output_high() } else { pin.into_output_low() };
        Ok(Self { pin, active_low: line.active_low })
    }
}

impl Led for RppalLed {
    fn set(&mut self, on: bool) -> Result<(), DeviceError> {
        if on == self.active_low {
            self.pin.set_low();
        } else {
            self.pin.set_high();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pi_without_its_own_kernel_takes_the_character_device() {
        let none = || Err::<u8, _>(io::Error::other("no gpiomem"));
        assert_eq!(open_line(Gpio::Rppal, || Ok(1), || Ok(2)).unwrap(), 1);
        assert_eq!(open_line(Gpio::Rppal, none, || Ok(2)).unwrap(), 2);
        assert_eq!(open_line(Gpio::Gpiocdev, || Ok(1), || Ok(2)).unwrap(), 2);
        let refused = open_line(Gpio::Rppal, none, || Err(io::Error::other("no chip"))).unwrap_err();
        assert_eq!(refused.to_string(), "no gpiomem", "the way that the board names is the one to mend");
    }
}
