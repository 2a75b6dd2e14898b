//! Handles: domain names that people read.

use super::{check_domain_label, text_identifier};

/// Names an account for people, such as `alice.example.com`; always lower case.
///
/// At most 253 characters, at least two labels, the last beginning with a letter. Handles differ by more than
/// case or not at all, so that `parse` lowers the letters. Source: atproto specification "Handle".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(Box<str>);

/// Longest domain name, in characters (RFC 1035 with the trailing dot left off).
const HANDLE_BYTES_MAX: usize = 253;

/// Last labels that can never be resolved on the internet, from the specification's list.
///
/// `test` is not among them: it is for development and each host decides about it.
const RESERVED_LAST_LABELS: [&str; 8] =
    ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion"];

impl Handle {
    pub(super) fn check(text: &str) -> Result<(), &'static str> {
        if text.len() > HANDLE_BYTES_MAX {
            return Err("longer than 253 characters");
        }
        let mut labels = 0;
        let mut last: &[u8] = &[];
        for label in text.as_bytes().split(|b| *b == b'.') {
            check_domain_label(label)?;
            labels += 1;
            last = label;
        }
        if labels < 2 {
            return Err("needs at least two parts with a dot between");
        }
        if !last.first().is_some_and(u8::is_ascii_alphabetic) {
            return Err("the last part does not begin with a letter");
        }
        Ok(())
    }

    fn from_checked(mut text: Box<str>) -> Self {
        text.make_ascii_lowercase();
        Self(text)
    }

    /// Says whether the last label is one that the internet's naming never resolves (`.local`, `.onion`, ...).
    ///
    /// Such a handle is well-formed but no server may give it to an account.
    pub fn is_reserved(&self) -> bool {
        let last = self.0.rsplit('.').next().unwrap_or_default();
        RESERVED_LAST_LABELS.contains(&last)
    }
}

text_identifier!(Handle, "handle");
