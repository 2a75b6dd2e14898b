//! The small display on I2C: sends what changed, and starts the display anew after every failure.
//!
//! A display that is absent, pulled out or noisy is normal: each call says so and the next one tries again from the
//! start. It shows what it is given and knows no pages.

mod changes;
mod controllers;

use linux_embedded_hal::I2cdev;
use platform::{
    DeviceError, Frame, Screen,
    board::{ScreenDriver, ScreenWiring},
};

use changes::{Pages, changes, pages};
use controllers::{Controller, SinoWealth, Solomon, Wire};

/// A 128x64 display, present or not.
#[derive(Debug)]
pub struct LinuxScreen {
    wiring: ScreenWiring,
    open: Option<Open>,
    /// What the owner of the picture asked last; a display that comes back starts with it.
    lit: bool,
    /// The last picture, for the same reason.
    wanted: Option<Box<Pages>>,
}

/// A display that answered.
#[derive(Debug)]
struct Open {
    controller: Box<dyn Controller>,
    shown: Option<Box<Pages>>,
    is_lit: bool,
}

impl LinuxScreen {
    /// Takes the wiring; nothing is opened before the first picture, so this cannot fail.
    #[must_use]
    pub fn new(wiring: ScreenWiring) -> Self {
        Self { wiring, open: None, lit: true, wanted: None }
    }

    /// Makes the display hold what is wanted; after a failure it counts as a stranger.
    fn update(&mut self, operation: &'static str) -> Result<(), DeviceError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => find(&self.wiring).map_err(|cause| DeviceError::new("screen", operation, cause))?,
        };
        let done = open.bring(self.wanted.as_deref(), self.lit);
        done.map_err(|cause| DeviceError::new("screen", operation, std::io::Error::other(cause)))?;
        self.open = Some(open);
        Ok(())
    }
}

impl Screen for LinuxScreen {
    fn show(&mut self, frame: &Frame) -> Result<(), DeviceError> {
        self.wanted = Some(Box::new(pages(frame)));
        self.update("show a frame")
    }

    fn set_lit(&mut self, lit: bool) -> Result<(), DeviceError> {
        self.lit = lit;
        self.update("switch its pixels")
    }
}

impl Open {
    fn bring(&mut self, wanted: Option<&Pages>, lit: bool) -> Result<(), controllers::NoAnswer> {
        if let Some(wanted) = wanted {
            for run in changes(self.shown.as_deref(), wanted) {
                self.controller.send(wanted, run)?;
            }
            self.shown = Some(Box::new(*wanted));
        }
        // Lit only with a picture: before the first the memory holds noise.
        let lit = lit && self.shown.is_some();
        if self.is_lit != lit {
            self.controller.set_lit(lit)?;
            self.is_lit = lit;
        }
        Ok(())
    }
}

/// Starts the display at the first address that answers.
fn find(wiring: &ScreenWiring) -> Result<Open, std::io::Error> {
    let mut answer = std::io::Error::other("the board names no address");
    for address in &wiring.addresses {
        let bus = I2cdev::new(&wiring.bus).map_err(std::io::Error::other)?;
        let mut controller = controller(wiring, Wire::new(Bus(bus), *address));
        match controller.start() {
            Ok(()) => return Ok(Open { controller, shown: None, is_lit: false }),
            Err(cause) => answer = std::io::Error::other(cause),
        }
    }
    Err(answer)
}

fn controller(wiring: &ScreenWiring, wire: Wire<Bus>) -> Box<dyn Controller> {
    match wiring.driver {
        ScreenDriver::Ssd1306 => Box::new(Solomon::new(wire, wiring.upside_down)),
        ScreenDriver::Sh1106 => Box::new(SinoWealth::new(wire, wiring.upside_down)),
    }
}

/// The kernel's bus device, with the `Debug` that it lacks.
struct Bus(I2cdev);

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}

impl embedded_hal::i2c::ErrorType for Bus {
    type Error = <I2cdev as embedded_hal::i2c::ErrorType>::Error;
}

impl embedded_hal::i2c::I2c for Bus {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [embedded_hal::i2c::Operation<'_>],
    ) -> Result<(), Self::Error> {
        self.0.transaction(address, operations)
    }
}
