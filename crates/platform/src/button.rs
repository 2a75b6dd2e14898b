//! The one button: edges from the hardware. What a press means is the screen policy's business.

use crate::DeviceError;

/// One change of the button, stamped when it happened and not when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// True when the button went down.
    pub down: bool,
    /// CLOCK_BOOTTIME of the change, nanoseconds.
    pub boottime_ns: u64,
}

/// A push button whose edges wait in a queue.
pub trait Button: Send + std::fmt::Debug {
    /// Takes the oldest edge that has not been taken, without waiting.
    ///
    /// # Errors
    /// When the line can no longer be read; the caller goes on without a button.
    fn next_edge(&mut self) -> Result<Option<Edge>, DeviceError>;

    /// Tells whether the button is down now (read once at boot: held means safe mode).
    ///
    /// # Errors
    /// As [`Button::next_edge`].
    fn is_down(&mut self) -> Result<bool, DeviceError>;
}
