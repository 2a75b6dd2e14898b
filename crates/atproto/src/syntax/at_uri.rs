//! `at://` addresses of accounts, collections and records.

use super::{AtIdentifier, Did, Nsid, RecordKey, SyntaxError, text_traits};

/// Addresses an account, a collection or a record: `at://authority[/collection[/rkey]]`.
///
/// At most 8,192 bytes, no trailing slash, query or fragment. Source: atproto specification "AT URI scheme".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AtUri {
    text: Box<str>,
    /// Where the authority ends in `text`.
    authority_end: usize,
    /// Where the collection ends in `text`; equal to `authority_end` when there is none.
    collection_end: usize,
}

/// Longest address, in bytes.
const AT_URI_BYTES_MAX: usize = 8192;
const SCHEME: &str = "at://";
const KIND: &str = "AT URI";

impl AtUri {
    /// Checks the text and all of its parts.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let (authority_end, collection_end) = check(text)?;
        Ok(Self { text: Box::from(text), authority_end, collection_end })
    }

    /// Makes the address of a record.
    pub fn record(did: &Did, collection: &Nsid, rkey: &RecordKey) -> Self {
        let text = format!("{SCHEME}{did}/{collection}/{rkey}").into_boxed_str();
        let authority_end = SCHEME.len() + did.as_str().len();
        Self { text, authority_end, collection_end: authority_end + 1 + collection.as_str().len() }
    }

    /// Gives the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Gives the DID or handle, already checked.
    pub fn authority(&self) -> &str {
        self.text.get(SCHEME.len()..self.authority_end).unwrap_or_default()
    }

    /// Gives the DID or handle as a value (allocates).
    pub fn identifier(&self) -> Result<AtIdentifier, SyntaxError> {
        AtIdentifier::parse(self.authority())
    }

    /// Gives the collection, already checked as an NSID.
    pub fn collection(&self) -> Option<&str> {
        self.text.get(self.authority_end + 1..self.collection_end)
    }

    /// Gives the record key, already checked.
    pub fn rkey(&self) -> Option<&str> {
        self.text.get(self.collection_end + 1..)
    }
}

/// Checks the text; gives the ends of authority and collection.
fn check(text: &str) -> Result<(usize, usize), SyntaxError> {
    if text.len() > AT_URI_BYTES_MAX {
        return Err(SyntaxError::new(KIND, "longer than 8192 bytes"));
    }
    let rest = text.strip_prefix(SCHEME).ok_or(SyntaxError::new(KIND, "does not begin with \"at://\""))?;
    let mut parts = rest.split('/');
    let authority = parts.next().unwrap_or_default();
    AtIdentifier::check(authority)?;
    let authority_end = SCHEME.len() + authority.len();
    let Some(collection) = parts.next() else {
        return Ok((authority_end, authority_end));
    };
    Nsid::check(collection).map_err(|why| SyntaxError::new(KIND, why))?;
    let collection_end = authority_end + 1 + collection.len();
    if let Some(rkey) = parts.next() {
        RecordKey::check(rkey).map_err(|why| SyntaxError::new(KIND, why))?;
    }
    if parts.next().is_some() {
        return Err(SyntaxError::new(KIND, "has more than authority, collection and record key"));
    }
    Ok((authority_end, collection_end))
}

text_traits!(AtUri);
