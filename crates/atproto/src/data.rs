//! The data model between JSON and DAG-CBOR: links, bytes, blobs and integers.
//!
//! In JSON a link is `{"$link": "bafy..."}`, bytes are `{"$bytes": "base64"}`, and a blob is an object of `$type`
//! `blob`. JSON goes straight to canonical DAG-CBOR without values between, because every write of a record passes
//! here; [`json_to_value`] is for the few places that look inside. What an object means beyond this (lexicons) is not
//! known here. Source: atproto specification "Data Model".

mod blob;
mod from_json;
#[cfg(test)]
mod tests;
mod to_json;

pub use self::blob::{BlobRef, blob_refs};
pub use self::to_json::{cbor_to_json, value_to_json};

use crate::cbor::{self, Value};
use crate::cid::Cid;
use crate::syntax::Nsid;

/// Largest and, negated, smallest integer: what JavaScript holds exactly (53 bits).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// Largest record in its stored form, in bytes (specification "Repository": relays drop larger ones).
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// Nesting of JSON objects and arrays that is followed.
///
/// One less than the JSON parser's own bound, so that the refusal comes in our words, and within
/// [`cbor::DEPTH_MAX`], so that what is written can be read.
pub const JSON_DEPTH_MAX: usize = 126;

/// Says why JSON is not of the data model. Keys and numbers of the input are not repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The text is not JSON.
    #[error("not valid JSON")]
    Json(#[source] serde_json::Error),
    /// The outermost value is not an object.
    #[error("the outermost value must be an object")]
    NotObject,
    /// A number has a fraction or is too large for one without.
    #[error("numbers must be whole: fractions are not allowed")]
    Float,
    /// An integer is beyond [`INTEGER_MAX`].
    #[error("a number is beyond 53 bits")]
    IntegerRange,
    /// A key comes twice in one object.
    #[error("a key comes twice in one object")]
    DuplicateKey,
    /// `$type` is not text, or is empty.
    #[error("$type must be text and not empty")]
    BadType,
    /// The `$type` of a record is not its collection.
    #[error("the record's $type must be the collection, {expected}")]
    OtherType {
        /// The collection.
        expected: String,
    },
    /// `$link` is not alone in its object, or is not the text of a CID.
    #[error("$link must be the only key and hold the text of a CID")]
    BadLink,
    /// `$bytes` is not alone in its object, or is not base64 text.
    #[error("$bytes must be the only key and hold base64 text")]
    BadBytes,
    /// An object of `$type` `blob` has not exactly `ref`, `mimeType` and `size` of the right kinds.
    #[error("a blob must have exactly ref (a link), mimeType (text) and size (a whole number)")]
    BadBlob,
    /// Objects and arrays are nested deeper than [`JSON_DEPTH_MAX`].
    #[error("nested deeper than {JSON_DEPTH_MAX}")]
    TooDeep,
    /// There are more elements than [`cbor::ITEMS_MAX`].
    #[error("more than {} elements", cbor::ITEMS_MAX)]
    TooManyItems,
    /// The record is larger than [`RECORD_BYTES_MAX`].
    #[error("the record is {bytes} bytes, at most {RECORD_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size in DAG-CBOR.
        bytes: usize,
    },
    /// Stored bytes are not DAG-CBOR.
    #[error("not valid DAG-CBOR")]
    Cbor(#[source] cbor::DecodeError),
}

/// A record ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The hash name of `bytes`.
    pub cid: Cid,
    /// Canonical DAG-CBOR.
    pub bytes: Vec<u8>,
    /// The blobs that the record names, sorted, each once.
    pub blobs: Vec<BlobRef>,
}

/// Turns the JSON of a record into its stored form.
///
/// `$type` is added when it is missing, as the reference server does, and must otherwise be the collection.
pub fn record_to_cbor(json: &[u8], collection: &Nsid) -> Result<Record, DataError> {
    let (bytes, blobs) = from_json::encode(json, Some(collection.as_str()))?;
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(DataError::TooLarge { bytes: bytes.len() });
    }
    Ok(Record { cid: Cid::for_dag_cbor(&bytes), bytes, blobs })
}

/// Turns a JSON object into canonical DAG-CBOR. The caller bounds the input's size.
pub fn json_to_cbor(json: &[u8]) -> Result<Vec<u8>, DataError> {
    from_json::encode(json, None).map(|(bytes, _)| bytes)
}

/// Turns a JSON object into a value. The caller bounds the input's size.
pub fn json_to_value(json: &[u8]) -> Result<Value, DataError> {
    cbor::decode(&json_to_cbor(json)?).map_err(DataError::Cbor)
}
