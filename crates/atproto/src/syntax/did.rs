//! Decentralised identifiers: `did:method:identifier`.

use super::text_identifier;

/// Names an account for ever, such as `did:plc:ewvi7nxzyoun6zhxrhs64oiz`.
///
/// At most 2,048 bytes, case kept. Source: atproto specification "DID"; the method is not restricted here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Did(Box<str>);

/// Longest DID that the protocol allows, in bytes.
const DID_BYTES_MAX: usize = 2048;

/// Length of the base32 part of a `did:plc`: the first 24 characters of a SHA-256 in base32.
const PLC_ID_CHARS: usize = 24;

impl Did {
    pub(super) fn check(text: &str) -> Result<(), &'static str> {
        if text.len() > DID_BYTES_MAX {
            return Err("longer than 2048 bytes");
        }
        let rest = text.strip_prefix("did:").ok_or("does not begin with \"did:\"")?;
        let (method, id) = rest.split_once(':').ok_or("no identifier after the method")?;
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err("the method is not lower-case letters");
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'%' | b'-');
        if !id.bytes().all(allowed) {
            return Err("the identifier has a character that is not allowed");
        }
        match id.as_bytes().last() {
            None => Err("the identifier is empty"),
            Some(b':' | b'%') => Err("the identifier ends with \":\" or \"%\""),
            Some(_) => Ok(()),
        }
    }

    fn from_checked(text: Box<str>) -> Self {
        Self(text)
    }

    /// Gives the method, such as `plc` or `web`.
    pub fn method(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// Gives what follows `did:method:`.
    pub fn identifier(&self) -> &str {
        self.0.splitn(3, ':').nth(2).unwrap_or_default()
    }

    /// Says whether this is a `did:plc` of the only form that a directory gives out.
    ///
    /// That is 24 characters of `a-z2-7`; the general syntax allows others, which no directory can know.
    pub fn is_plc(&self) -> bool {
        self.0.strip_prefix("did:plc:").is_some_and(|id| {
            id.len() == PLC_ID_CHARS && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        })
    }

    /// Says whether the method is `web`.
    pub fn is_web(&self) -> bool {
        self.0.starts_with("did:web:")
    }
}

text_identifier!(Did, "DID");
