//! Addresses of any scheme, as lexicons use them.

use super::text_identifier;

/// Holds an address of any scheme, such as `https://example.com/` or `dns:example.com`.
///
/// Checked are only the scheme (RFC 3986 section 3.1), that something follows it, that no space or control
/// character is in it, and the length of at most 8,192 bytes. Source: atproto specification "Lexicon", `uri`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uri(Box<str>);

/// Longest address, in bytes.
const URI_BYTES_MAX: usize = 8192;
/// Longest scheme, in characters: the bound that other implementations use.
const SCHEME_BYTES_MAX: usize = 81;

impl Uri {
    fn check(text: &str) -> Result<(), &'static str> {
        if text.len() > URI_BYTES_MAX {
            return Err("longer than 8192 bytes");
        }
        let (scheme, rest) = text.split_once(':').ok_or("has no scheme")?;
        if !scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) {
            return Err("the scheme does not begin with a letter");
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-');
        if scheme.len() > SCHEME_BYTES_MAX || !scheme.bytes().all(allowed) {
            return Err("the scheme is too long or has a character that is not allowed");
        }
        if rest.is_empty() {
            return Err("nothing follows the scheme");
        }
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("has a space or a control character");
        }
        Ok(())
    }

    fn from_checked(text: Box<str>) -> Self {
        Self(text)
    }

    /// Gives the scheme, such as `https`.
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }
}

text_identifier!(Uri, "URI");
