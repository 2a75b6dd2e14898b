//! What a client may name an account by: a DID or a handle.

use super::{Did, Handle, SyntaxError};

/// Names an account by DID or by handle.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AtIdentifier {
    /// The account's permanent name.
    Did(Did),
    /// The account's readable name, which may move.
    Handle(Handle),
}

impl AtIdentifier {
    /// Takes what begins with `did:` for a DID and all else for a handle.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text.starts_with("did:") {
            Did::parse(text).map(Self::Did)
        } else {
            Handle::parse(text).map(Self::Handle)
        }
    }

    /// Checks without keeping anything.
    pub(super) fn check(text: &str) -> Result<(), SyntaxError> {
        if text.starts_with("did:") {
            Did::check(text).map_err(|why| SyntaxError::new("DID", why))
        } else {
            Handle::check(text).map_err(|why| SyntaxError::new("handle", why))
        }
    }

    /// Gives the text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Did(did) => did.as_str(),
            Self::Handle(handle) => handle.as_str(),
        }
    }

    /// Gives the DID, if it is one.
    pub fn as_did(&self) -> Option<&Did> {
        match self {
            Self::Did(did) => Some(did),
            Self::Handle(_) => None,
        }
    }

    /// Gives the handle, if it is one.
    pub fn as_handle(&self) -> Option<&Handle> {
        match self {
            Self::Did(_) => None,
            Self::Handle(handle) => Some(handle),
        }
    }
}

impl From<Did> for AtIdentifier {
    fn from(did: Did) -> Self {
        Self::Did(did)
    }
}

impl From<Handle> for AtIdentifier {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

super::text_traits!(AtIdentifier);
