//! DAG-CBOR, strict and canonical both ways: one value has one encoding, and everything else is an error.
//!
//! Our own codec rather than serde_ipld_dagcbor, because that accepts floats, names no offset in its errors, has no
//! bound on the number of items, and copies where MST nodes want to borrow; it serves as the oracle in the tests.
//! Two layers: `Decoder` and the `write_*` functions for fixed shapes (nodes, commits, frames), and `Value` for records.
//!
//! Source: IPLD DAG-CBOR specification; atproto "Data Model" (no floats, links as tag 42, map keys are text).

mod decode;
mod encode;
mod value;

pub use decode::{Decoder, check, decode, decode_prefix};
pub use encode::{
    encode, encode_into, write_bool, write_bytes, write_int, write_link, write_list, write_map, write_null,
    write_text, write_uint,
};
pub(crate) use value::key_order;
pub use value::{DuplicateKey, Map, Value};

/// Nesting of lists and maps that is followed.
///
/// The same as the JSON parser's, so that what comes in by one can leave by the other. Each level costs a few hundred
/// bytes of stack; without a bound a 2 MB record of `[[[[…` would overflow it.
pub const DEPTH_MAX: usize = 128;
/// List elements and map entries in one document, nested ones included.
///
/// A `Value` is 40 bytes for an item that may be one byte long: this holds a hostile 1 MB record to 5-10 MB of memory.
/// Real records have fewer than a thousand.
pub const ITEMS_MAX: usize = 131_072;

/// Where and why bytes are not canonical DAG-CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {why}")]
pub struct DecodeError {
    /// Offset of the offending item from the start of the input, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub why: Malformed,
}

/// What is wrong with a piece of DAG-CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the input ends inside an item")]
    Truncated,
    #[error("bytes follow the value")]
    TrailingBytes,
    #[error("a number or length is longer than it needs to be")]
    NotMinimal,
    #[error("lengths must be definite")]
    Indefinite,
    #[error("floating point numbers are not part of the data model")]
    Float,
    #[error("only false, true and null are allowed as simple values")]
    Simple,
    #[error("only tag 42, a link, is allowed")]
    Tag,
    #[error("a link is tag 42 on bytes that begin with zero and hold a CID")]
    Link(#[source] crate::cid::CidError),
    #[error("text is not UTF-8")]
    Utf8,
    #[error("map keys must be text")]
    KeyNotText,
    #[error("map keys must be in order, shorter first")]
    KeyOrder,
    #[error("a map key appears twice")]
    DuplicateKey,
    #[error("an integer needs more than 64 signed bits")]
    IntegerRange,
    #[error("nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("more than {ITEMS_MAX} items")]
    TooManyItems,
    #[error("expected {0}")]
    Expected(&'static str),
}

#[cfg(test)]
mod tests;
