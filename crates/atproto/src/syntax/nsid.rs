//! Namespaced identifiers: the names of collections and methods.

use super::{check_domain_label, text_identifier};

/// Names a record collection or a method, such as `app.bsky.feed.post`.
///
/// At most 317 characters: a reversed domain name of at least two labels, then a name. Case is kept. The domain's
/// own limit of 253 is not checked, because the protocol's files of valid examples hold longer ones.
/// Source: atproto specification "NSID".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nsid(Box<str>);

/// Longest NSID: a domain of 253, a dot and a name of 63 characters.
const NSID_BYTES_MAX: usize = 317;
/// Longest name after the domain, in characters.
const NAME_BYTES_MAX: usize = 63;

impl Nsid {
    pub(super) fn check(text: &str) -> Result<(), &'static str> {
        if text.len() > NSID_BYTES_MAX {
            return Err("longer than 317 characters");
        }
        let (authority, name) = text.rsplit_once('.').ok_or("needs at least three parts")?;
        if !authority.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) {
            return Err("does not begin with a letter");
        }
        let mut labels = 0;
        for label in authority.as_bytes().split(|b| *b == b'.') {
            check_domain_label(label)?;
            labels += 1;
        }
        if labels < 2 {
            return Err("needs at least three parts");
        }
        if name.len() > NAME_BYTES_MAX {
            return Err("the name is longer than 63 characters");
        }
        if !name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) {
            return Err("the name does not begin with a letter");
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err("the name has a character other than letters and digits");
        }
        Ok(())
    }

    fn from_checked(text: Box<str>) -> Self {
        Self(text)
    }

    /// Gives the reversed domain name, such as `app.bsky.feed`.
    pub fn authority(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(authority, _)| authority)
    }

    /// Gives the last part, such as `post`.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, name)| name)
    }
}

text_identifier!(Nsid, "NSID");
