//! Opens what the front of the box has: display, button and light, each of them optional and each able to fail.

use crate::{Button, DeviceError, Led, Screen};

/// Opens the devices of the front; asked again, now and then, for what was absent or failed.
pub trait FrontDevices: Send + std::fmt::Debug {
    /// Gives the display; `None` when the board has none. It is given whether it answers or not: each picture tries
    /// anew.
    fn screen(&mut self) -> Option<Box<dyn Screen>>;

    /// Opens the button; `None` when the board has none.
    ///
    /// # Errors
    /// When its line cannot be had now.
    fn button(&mut self) -> Result<Option<Box<dyn Button>>, DeviceError>;

    /// Opens the light; `None` when the board has none.
    ///
    /// # Errors
    /// When its line cannot be had now.
    fn led(&mut self) -> Result<Option<Box<dyn Led>>, DeviceError>;
}
