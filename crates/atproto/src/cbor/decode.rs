//! Strict decoding: a borrowing decoder for fixed shapes, and whole values.

use super::encode::{BYTES, LIST, MAP, NEGATIVE, TEXT, UNSIGNED};
use super::value::key_order;
use super::{DEPTH_MAX, DecodeError, ITEMS_MAX, Malformed, Map, Value};
use crate::cid::{CID_BYTES, Cid};
use std::cmp::Ordering;

const TAG: u8 = 6 << 5;
const LINK_TAG: u64 = 42;
/// Elements for which room is made before they are seen; a claimed length reserves no more than this.
const RESERVE_MAX: usize = 32;

/// Decodes one value that is the whole input.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.value()?;
    decoder.finish()?;
    Ok(value)
}

/// Decodes the value at the start, returning the bytes after it.
pub fn decode_prefix(bytes: &[u8]) -> Result<(Value, &[u8]), DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.value()?;
    Ok((value, decoder.rest))
}

/// Checks that the whole input is one value as strictly as `decode` does, without building it.
pub fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(bytes);
    decoder.skip()?;
    decoder.finish()
}

/// The head of an item.
enum Head {
    Unsigned(u64),
    Negative(u64),
    Bytes(usize),
    Text(usize),
    List(usize),
    Map(usize),
    Link,
    Bool(bool),
    Null,
}

/// Reads canonical DAG-CBOR item by item, borrowing text and bytes from the input.
///
/// Lengths are checked against what is left of the input before anything is made of them.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    length: usize,
    items: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len(), items: 0 }
    }

    /// Returns the offset of the next item.
    #[must_use]
    pub fn at(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Returns what has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Makes sure that nothing is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(Malformed::TrailingBytes)) }
    }

    /// Reads a list's head and returns its length.
    pub fn list(&mut self) -> Result<usize, DecodeError> {
        let at = self.at();
        if let Head::List(length) = self.head()? { Ok(length) } else { Err(expected(at, "a list")) }
    }

    /// Reads a map's head and returns the number of its entries.
    pub fn map(&mut self) -> Result<usize, DecodeError> {
        let at = self.at();
        if let Head::Map(length) = self.head()? { Ok(length) } else { Err(expected(at, "a map")) }
    }

    /// Reads text.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let at = self.at();
        if let Head::Text(length) = self.head()? {
            self.text_body(at, length)
        } else {
            Err(expected(at, "text"))
        }
    }

    /// Reads the map key `key` and nothing else; for maps whose keys are known.
    pub fn key(&mut self, key: &'static str) -> Result<(), DecodeError> {
        let at = self.at();
        if self.text()? == key { Ok(()) } else { Err(expected(at, key)) }
    }

    /// Reads bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let at = self.at();
        if let Head::Bytes(length) = self.head()? {
            self.take(at, length)
        } else {
            Err(expected(at, "bytes"))
        }
    }

    /// Reads an integer that is not negative.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        let at = self.at();
        if let Head::Unsigned(int) = self.head()? {
            Ok(int)
        } else {
            Err(expected(at, "an unsigned integer"))
        }
    }

    /// Reads an integer.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        let at = self.at();
        match self.head()? {
            Head::Unsigned(int) => positive(at, int),
            Head::Negative(int) => negative(at, int),
            _ => Err(expected(at, "an integer")),
        }
    }

    /// Reads a boolean.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        let at = self.at();
        if let Head::Bool(bool) = self.head()? { Ok(bool) } else { Err(expected(at, "a boolean")) }
    }

    /// Reads a link.
    pub fn link(&mut self) -> Result<Cid, DecodeError> {
        let at = self.at();
        if let Head::Link = self.head()? { self.link_body(at) } else { Err(expected(at, "a link")) }
    }

    /// Reads null if it is next.
    pub fn null(&mut self) -> bool {
        if let Some((&super::encode::NULL, rest)) = self.rest.split_first() {
            self.rest = rest;
            true
        } else {
            false
        }
    }

    /// Reads a link or null.
    pub fn link_or_null(&mut self) -> Result<Option<Cid>, DecodeError> {
        if self.null() { Ok(None) } else { self.link().map(Some) }
    }

    /// Reads a value of any kind.
    pub fn value(&mut self) -> Result<Value, DecodeError> {
        self.value_at_depth(0)
    }

    /// Reads past a value of any kind, checking it as `value` does but keeping nothing.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        self.skip_at_depth(0)
    }

    fn value_at_depth(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let at = self.at();
        Ok(match self.head()? {
            Head::Null => Value::Null,
            Head::Bool(bool) => Value::Bool(bool),
            Head::Unsigned(int) => Value::Int(positive(at, int)?),
            Head::Negative(int) => Value::Int(negative(at, int)?),
            Head::Bytes(length) => Value::Bytes(self.take(at, length)?.to_vec()),
            Head::Text(length) => Value::Text(self.text_body(at, length)?.to_owned()),
            Head::Link => Value::Link(self.link_body(at)?),
            Head::List(length) => {
                self.enter(at, length, depth)?;
                let mut list = Vec::with_capacity(length.min(RESERVE_MAX));
                for _ in 0..length {
                    list.push(self.value_at_depth(depth + 1)?);
                }
                Value::List(list)
            }
            Head::Map(length) => {
                self.enter(at, length, depth)?;
                let mut entries = Vec::with_capacity(length.min(RESERVE_MAX));
                let mut previous: Option<&'a str> = None;
                for _ in 0..length {
                    let key = self.map_key(previous)?;
                    previous = Some(key);
                    entries.push((key.to_owned(), self.value_at_depth(depth + 1)?));
                }
                Value::Map(Map::from_canonical(entries))
            }
        })
    }

    fn skip_at_depth(&mut self, depth: usize) -> Result<(), DecodeError> {
        let at = self.at();
        match self.head()? {
            Head::Null | Head::Bool(_) => {}
            Head::Unsigned(int) => {
                positive(at, int)?;
            }
            Head::Negative(int) => {
                negative(at, int)?;
            }
            Head::Bytes(length) => {
                self.take(at, length)?;
            }
            Head::Text(length) => {
                self.text_body(at, length)?;
            }
            Head::Link => {
                self.link_body(at)?;
            }
            Head::List(length) => {
                self.enter(at, length, depth)?;
                for _ in 0..length {
                    self.skip_at_depth(depth + 1)?;
                }
            }
            Head::Map(length) => {
                self.enter(at, length, depth)?;
                let mut previous: Option<&'a str> = None;
                for _ in 0..length {
                    previous = Some(self.map_key(previous)?);
                    self.skip_at_depth(depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, at: usize, length: usize, depth: usize) -> Result<(), DecodeError> {
        if depth >= DEPTH_MAX {
            return Err(DecodeError { at, why: Malformed::TooDeep });
        }
        // An item takes at least one byte, so `length` is at most the size of the input here and cannot overflow.
        self.items = self.items.saturating_add(length);
        if self.items > ITEMS_MAX {
            return Err(DecodeError { at, why: Malformed::TooManyItems });
        }
        Ok(())
    }

    /// Reads a map key that must come after the previous one in canonical order.
    pub(crate) fn map_key(&mut self, previous: Option<&str>) -> Result<&'a str, DecodeError> {
        let at = self.at();
        let Head::Text(length) = self.head()? else {
            return Err(DecodeError { at, why: Malformed::KeyNotText });
        };
        let key = self.text_body(at, length)?;
        match previous.map(|previous| key_order(previous.as_bytes(), key.as_bytes())) {
            None | Some(Ordering::Less) => Ok(key),
            Some(Ordering::Equal) => Err(DecodeError { at, why: Malformed::DuplicateKey }),
            Some(Ordering::Greater) => Err(DecodeError { at, why: Malformed::KeyOrder }),
        }
    }

    fn head(&mut self) -> Result<Head, DecodeError> {
        let at = self.at();
        let fail = |why| DecodeError { at, why };
        let [initial] = self.take_array(at)?;
        let (major, low) = (initial & 0xe0, initial & 0x1f);
        if major == 7 << 5 {
            return match low {
                20 => Ok(Head::Bool(false)),
                21 => Ok(Head::Bool(true)),
                22 => Ok(Head::Null),
                25..=27 => Err(fail(Malformed::Float)),
                31 => Err(fail(Malformed::Indefinite)),
                _ => Err(fail(Malformed::Simple)),
            };
        }
        let (argument, least) = match low {
            0..=23 => (u64::from(low), 0),
            24 => (u64::from(u8::from_be_bytes(self.take_array(at)?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.take_array(at)?)), 0x100),
            26 => (u64::from(u32::from_be_bytes(self.take_array(at)?)), 0x1_0000),
            27 => (u64::from_be_bytes(self.take_array(at)?), 0x1_0000_0000),
            31 => return Err(fail(Malformed::Indefinite)),
            _ => return Err(fail(Malformed::NotMinimal)),
        };
        if argument < least {
            return Err(fail(Malformed::NotMinimal));
        }
        // An element of a list takes at least one byte, an entry of a map two.
        let length = |each: usize| match usize::try_from(argument) {
            Ok(length) if length <= self.rest.len() / each => Ok(length),
            _ => Err(fail(Malformed::Truncated)),
        };
        match major {
            UNSIGNED => Ok(Head::Unsigned(argument)),
            NEGATIVE => Ok(Head::Negative(argument)),
            BYTES => length(1).map(Head::Bytes),
            TEXT => length(1).map(Head::Text),
            LIST => length(1).map(Head::List),
            MAP => length(2).map(Head::Map),
            TAG if argument == LINK_TAG => Ok(Head::Link),
            _ => Err(fail(Malformed::Tag)),
        }
    }

    fn take_array<const N: usize>(&mut self, at: usize) -> Result<[u8; N], DecodeError> {
        let (head, rest) =
            self.rest.split_first_chunk().ok_or(DecodeError { at, why: Malformed::Truncated })?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, at: usize, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) =
            self.rest.split_at_checked(length).ok_or(DecodeError { at, why: Malformed::Truncated })?;
        self.rest = rest;
        Ok(head)
    }

    fn text_body(&mut self, at: usize, length: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.take(at, length)?).map_err(|_| DecodeError { at, why: Malformed::Utf8 })
    }

    fn link_body(&mut self, at: usize) -> Result<Cid, DecodeError> {
        let link = |source| DecodeError { at, why: Malformed::Link(source) };
        let wrong = |length| link(crate::cid::CidError::Length(length));
        let Head::Bytes(length) = self.head()? else { return Err(wrong(0)) };
        let body = self.take(at, length)?;
        let Some((0, cid)) = body.split_first() else { return Err(wrong(length)) };
        if cid.len() != CID_BYTES {
            return Err(wrong(cid.len()));
        }
        Cid::from_bytes(cid).map_err(link)
    }

    fn error(&self, why: Malformed) -> DecodeError {
        DecodeError { at: self.at(), why }
    }
}

fn expected(at: usize, what: &'static str) -> DecodeError {
    DecodeError { at, why: Malformed::Expected(what) }
}

fn positive(at: usize, int: u64) -> Result<i64, DecodeError> {
    i64::try_from(int).map_err(|_| DecodeError { at, why: Malformed::IntegerRange })
}

fn negative(at: usize, int: u64) -> Result<i64, DecodeError> {
    positive(at, int).map(|int| !int)
}
