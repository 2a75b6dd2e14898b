//! The mark on a disk: which box's data, which copy of it, and whether it is the living one.
//!
//! One small JSON file in the topmost folder of the file system. It is the only memory of where data lives: no disk is
//! known by its label or by the kernel's name. Pure: bytes in, values out.

use platform::volumes::{IDENTITY_BYTES_MAX, VolumeId};
use serde::{Deserialize, Serialize};

/// The only form there is. A file of a later form is never overruled by an older program.
pub const FORMAT: u32 = 1;

/// A box's own random name, made at its first start: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApplianceId(String);

impl ApplianceId {
    /// Makes one of 16 random bytes.
    #[must_use]
    pub fn random(random: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(random)))
    }

    /// Gives the text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Another copy, as this one remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Its partition.
    pub volume: VolumeId,
    /// Its generation.
    pub generation: u64,
    /// Its disk in the owner's words, for the page that asks for it.
    pub disk: String,
}

/// What a copy is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum CopyState {
    /// Complete, and alive if no copy of a higher generation is.
    Whole,
    /// Being filled from another one: of no use without it.
    Receiving {
        /// Where the data comes from.
        from: Place,
    },
    /// Filled and compared; alive as soon as `from` says that it is superseded by this one.
    Verified {
        /// Where the data came from.
        from: Place,
    },
    /// Complete up to a moment, and dead: another copy went on.
    Superseded {
        /// The one that went on.
        by: Place,
    },
}

/// What the identity file says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Form of the file, [`FORMAT`].
    pub format: u32,
    /// The box that the data belongs to.
    pub appliance: ApplianceId,
    /// Counts the copies of this box, from 1; 0 is a place that never held any. Every move makes a larger one.
    pub generation: u64,
    /// The partition that this was written on: a copy made by other means is not ours to run.
    pub volume: VolumeId,
    /// What this copy is.
    pub state: CopyState,
}

/// Why an identity file is not understood.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is too long, or no JSON of the expected form.
    #[error("the mark on the disk cannot be read")]
    Form(#[source] Option<serde_json::Error>),
    /// A later version of Perch wrote it.
    #[error("a later version of Perch wrote the mark on the disk (form {0})")]
    Later(u32),
}

impl Identity {
    /// Makes the mark of a first start.
    #[must_use]
    pub fn first(appliance: ApplianceId, volume: VolumeId) -> Self {
        Self { format: FORMAT, appliance, generation: 1, volume, state: CopyState::Whole }
    }

    /// Reads the bytes of an identity file.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IdentityError> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        if u64::try_from(bytes.len()).is_ok_and(|len| len > IDENTITY_BYTES_MAX) {
            return Err(IdentityError::Form(None));
        }
        let bad = |error| IdentityError::Form(Some(error));
        // The form first: what else is in a later one is not known.
        match serde_json::from_slice::<Form>(bytes).map_err(bad)?.format {
            FORMAT => serde_json::from_slice(bytes).map_err(bad),
            later => Err(IdentityError::Later(later)),
        }
    }

    /// Gives the bytes for the file, with a line end for people who look at it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Names this copy for another one to remember.
    #[must_use]
    pub fn place(&self, disk: String) -> Place {
        Place { volume: self.volume.clone(), generation: self.generation, disk }
    }

    /// The same copy in another state.
    #[must_use]
    pub fn with(&self, state: CopyState) -> Self {
        Self { state, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { volume: VolumeId::new("abcd-04"), generation: 3, disk: "Samsung T7, 1000 GB".to_owned() }
    }

    #[test]
    fn every_state_survives_the_file() {
        let first = Identity::first(ApplianceId::random([7; 16]), VolumeId::random([9; 16]));
        let states = [
            CopyState::Whole,
            CopyState::Receiving { from: place() },
            CopyState::Verified { from: place() },
            CopyState::Superseded { by: place() },
        ];
        for state in states {
            let identity = first.with(state);
            let bytes = identity.to_bytes();
            assert!(bytes.len() < 1024, "{} bytes", bytes.len());
            assert_eq!(Identity::parse(&bytes).unwrap(), identity);
        }
    }

    #[test]
    fn a_later_form_is_told_from_a_torn_file() {
        let later = br#"{"format":2,"copies":[]}"#;
        assert!(matches!(Identity::parse(later), Err(IdentityError::Later(2))));
        for torn in [&b""[..], b"{\"format\":1", b"null", &[0; 512], &[b' '; 5000]] {
            assert!(matches!(Identity::parse(torn), Err(IdentityError::Form(_))));
        }
    }
}
