//! The kernel's name for one boot: a random UUID.

use serde::{Deserialize, Serialize};

/// Names one boot of the machine (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootId([u8; 16]);

/// Says that a text is no boot id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a boot id is a UUID of 32 hexadecimal digits")]
pub struct BootIdError;

impl BootId {
    /// Takes the 16 bytes of the UUID.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads a UUID with or without hyphens; surrounding white space is allowed, since the kernel's file ends in
    /// a line feed.
    ///
    /// # Errors
    /// When it is anything but 32 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, BootIdError> {
        let mut bytes = [0_u8; 16];
        let mut digits = 0_usize;
        for c in text.trim().chars().filter(|c| *c != '-') {
            let digit = c.to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(BootIdError)?;
            let byte = bytes.get_mut(digits / 2).ok_or(BootIdError)?;
            *byte = (*byte << 4) | digit;
            digits += 1;
        }
        if digits == 32 { Ok(Self(bytes)) } else { Err(BootIdError) }
    }
}

impl std::fmt::Display for BootId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for BootId {
    type Error = BootIdError;

    fn try_from(text: String) -> Result<Self, BootIdError> {
        Self::parse(&text)
    }
}

impl From<BootId> for String {
    fn from(id: BootId) -> Self {
        id.to_string()
    }
}
