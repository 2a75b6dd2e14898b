//! The error of all devices: which one, what it was doing, and the cause.

/// Says that an operation on a device failed.
///
/// Callers show it and go on: no missing or broken device may stop the PDS.
#[derive(Debug, thiserror::Error)]
#[error("{device}: {operation} failed")]
pub struct DeviceError {
    /// Which device, in an owner's words: `screen`, `clock chip`, `data disk`.
    pub device: &'static str,
    /// What was tried: `read the time`, `show a frame`.
    pub operation: &'static str,
    /// The cause as the system gave it.
    #[source]
    pub source: std::io::Error,
}

impl DeviceError {
    /// Names the device and the operation that failed.
    #[must_use]
    pub fn new(device: &'static str, operation: &'static str, source: std::io::Error) -> Self {
        Self { device, operation, source }
    }
}
