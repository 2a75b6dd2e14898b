//! The light and the power switch.

use crate::DeviceError;

/// A single light.
pub trait Led: Send + std::fmt::Debug {
    /// Lights it or puts it out.
    ///
    /// # Errors
    /// When the line cannot be driven; the caller goes on without a light.
    fn set(&mut self, on: bool) -> Result<(), DeviceError>;
}

/// What the machine is asked to do with itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRequest {
    /// Restart in the current slot.
    Restart,
    /// Switch off.
    Off,
}

/// Restarts or switches off the machine. Only the supervisor holds one.
pub trait Power: Send + std::fmt::Debug {
    /// Carries out the request; on real hardware it does not return.
    ///
    /// # Errors
    /// When the system refuses.
    fn request(&mut self, request: PowerRequest) -> Result<(), DeviceError>;
}
