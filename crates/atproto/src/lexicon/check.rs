//! Walks data and its type side by side.
//!
//! Both stand in the order of DAG-CBOR's map keys, so that an object is one pass over each. Nothing is allocated but
//! for a mismatch.

use std::cmp::Ordering;
use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

use super::{
    ArrayRules, BlobRules, Bounds, CHECKED_DEPTH_MAX, Definition, Format, IntegerRules, Lexicons, Name,
    Object, REFERENCES_MAX, Schema, TextRules, UnionRules,
};
use crate::cbor::{DecodeError, Decoder, key_order};
use crate::syntax::{
    AtIdentifier, AtUri, CidString, Datetime, Did, Handle, Language, Nsid, RecordKey, Tid, Uri,
};

/// Why data could not be found right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It breaks its lexicon.
    #[error("{0}")]
    Mismatch(Mismatch),
    /// A lexicon is needed that is not there.
    #[error("the lexicon {nsid} is not known")]
    Unknown {
        /// Its name.
        nsid: Box<str>,
    },
    /// A lexicon refers to what is not there, or in a circle, or to what is no type.
    #[error("{name} is not a type that data can be checked against")]
    Broken {
        /// The name that it refers to.
        name: Box<str>,
    },
    /// The data is not canonical DAG-CBOR.
    #[error("the data is not canonical DAG-CBOR")]
    Data(#[source] DecodeError),
}

/// Where and how data breaks its lexicon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// From the inside out.
    path: Vec<Box<str>>,
    why: Why,
}

/// How a value breaks its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    #[error("must be {0}")]
    Kind(&'static str),
    #[error("must be named by {0}")]
    Key(String),
    #[error("is required and missing")]
    Missing,
    #[error("must not be null")]
    Null,
    #[error("must be a valid {0}")]
    Format(&'static str),
    #[error("must have {} {unit}, it has {length}", bounds_in_words(*bounds))]
    Length { bounds: Bounds, unit: &'static str, length: usize },
    #[error("must be from {min} to {max}")]
    Range { min: i64, max: i64 },
    #[error("must be {0}")]
    Constant(String),
    #[error("must be one of {0}")]
    OneOf(String),
    #[error("must be at most {max} bytes large, it is {size}")]
    Size { max: u64, size: i64 },
    #[error("must be of a media type among {0}")]
    Media(String),
    #[error("must have a $type among {0}")]
    Type(String),
    #[error("must be an object with a $type")]
    NoType,
    #[error("is nested deeper than {CHECKED_DEPTH_MAX}")]
    TooDeep,
}

fn bounds_in_words(bounds: Bounds) -> String {
    match (bounds.min, bounds.max) {
        (min, usize::MAX) => format!("at least {min}"),
        (0, max) => format!("at most {max}"),
        (min, max) => format!("from {min} to {max}"),
    }
}

impl Mismatch {
    pub(super) fn at_top(why: Why) -> Self {
        Self { path: Vec::new(), why }
    }

    /// How the value breaks its type.
    #[must_use]
    pub fn why(&self) -> &Why {
        &self.why
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record")?;
        for part in self.path.iter().rev() {
            write!(f, "/{part}")?;
        }
        write!(f, " {}", self.why)
    }
}

impl Fault {
    pub(super) fn unknown(nsid: &str) -> Self {
        Self::Unknown { nsid: nsid.into() }
    }

    /// Notes in which part of the whole it is, while the way out is gone.
    fn inside(mut self: Box<Self>, part: &str) -> Box<Self> {
        /// A key that is shown; a hostile one may be as long as the record.
        const SHOWN_BYTES_MAX: usize = 64;
        if let Self::Mismatch(mismatch) = &mut *self {
            let end = part.floor_char_boundary(SHOWN_BYTES_MAX);
            mismatch.path.push(part.get(..end).unwrap_or_default().into());
        }
        self
    }
}

/// Boxed, so that the way in stays cheap.
type Checked = Result<(), Box<Fault>>;

fn broken<T>(why: Why) -> Result<T, Box<Fault>> {
    Err(Box::new(Fault::Mismatch(Mismatch::at_top(why))))
}

fn unreadable(error: DecodeError) -> Box<Fault> {
    Box::new(Fault::Data(error))
}

/// What the next item is, by its first byte (RFC 8949 section 3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Bytes,
    Text,
    List,
    Map,
    Link,
    Boolean,
    Null,
}

fn kind(data: &Decoder<'_>) -> Option<Kind> {
    let first = *data.rest().first()?;
    Some(match first >> 5 {
        0 | 1 => Kind::Integer,
        2 => Kind::Bytes,
        3 => Kind::Text,
        4 => Kind::List,
        5 => Kind::Map,
        6 => Kind::Link,
        _ if first == 0xf6 => Kind::Null,
        _ => Kind::Boolean,
    })
}

fn expect(data: &Decoder<'_>, wanted: Kind, words: &'static str) -> Checked {
    if kind(data) == Some(wanted) { Ok(()) } else { broken(Why::Kind(words)) }
}

/// Checks the next value.
pub(super) fn value(lexicons: &Lexicons, schema: &Schema, data: &mut Decoder<'_>, depth: usize) -> Checked {
    if depth > CHECKED_DEPTH_MAX {
        return broken(Why::TooDeep);
    }
    match schema {
        Schema::Null => {
            expect(data, Kind::Null, "null")?;
            data.skip().map_err(unreadable)
        }
        Schema::Boolean(constant) => {
            expect(data, Kind::Boolean, "a boolean")?;
            let found = data.bool().map_err(unreadable)?;
            match constant {
                Some(constant) if *constant != found => broken(Why::Constant(constant.to_string())),
                _ => Ok(()),
            }
        }
        Schema::Integer(rules) => {
            expect(data, Kind::Integer, "an integer")?;
            integer(rules, data.int().map_err(unreadable)?)
        }
        Schema::Text(rules) => {
            expect(data, Kind::Text, "a string")?;
            text(rules, data.text().map_err(unreadable)?)
        }
        Schema::Bytes(bounds) => {
            expect(data, Kind::Bytes, "bytes")?;
            length(*bounds, "bytes", data.bytes().map_err(unreadable)?.len())
        }
        Schema::Link => {
            expect(data, Kind::Link, "a link")?;
            data.skip().map_err(unreadable)
        }
        Schema::Blob(rules) => blob(rules, data),
        Schema::Array(rules) => array(lexicons, rules, data, depth),
        Schema::Object(rules) => object(lexicons, rules, data, depth),
        Schema::Token(name) => token(name, data),
        Schema::Ref(name) => reference(lexicons, name, data, depth),
        Schema::Union(rules) => union(lexicons, rules, data, depth),
        Schema::Unknown => {
            expect(data, Kind::Map, "an object")?;
            if type_of(data)? == Some("blob") {
                return broken(Why::Kind("an object, not a blob"));
            }
            data.skip().map_err(unreadable)
        }
        Schema::Anything => data.skip().map_err(unreadable),
    }
}

/// Checks the next value, which must be an object.
pub(super) fn object(lexicons: &Lexicons, rules: &Object, data: &mut Decoder<'_>, depth: usize) -> Checked {
    expect(data, Kind::Map, "an object")?;
    let mut properties = rules.properties.iter().peekable();
    let mut previous = None;
    for _ in 0..data.map().map_err(unreadable)? {
        let key = data.map_key(previous).map_err(unreadable)?;
        previous = Some(key);
        let order = |name: &str| key_order(name.as_bytes(), key.as_bytes());
        while let Some(passed) = properties.next_if(|property| order(&property.name) == Ordering::Less) {
            if passed.required {
                return missing(&passed.name);
            }
        }
        let Some(property) = properties.next_if(|property| *property.name == *key) else {
            data.skip().map_err(unreadable)?;
            continue;
        };
        if kind(data) == Some(Kind::Null) && property.schema != Schema::Null {
            if !property.nullable && property.schema != Schema::Anything {
                return broken(Why::Null).map_err(|fault| fault.inside(key));
            }
            data.skip().map_err(unreadable)?;
            continue;
        }
        value(lexicons, &property.schema, data, depth + 1).map_err(|fault| fault.inside(key))?;
    }
    match properties.find(|property| property.required) {
        Some(property) => missing(&property.name),
        None => Ok(()),
    }
}

fn missing(name: &str) -> Checked {
    broken(Why::Missing).map_err(|fault| fault.inside(name))
}

fn array(lexicons: &Lexicons, rules: &ArrayRules, data: &mut Decoder<'_>, depth: usize) -> Checked {
    expect(data, Kind::List, "an array")?;
    let count = data.list().map_err(unreadable)?;
    length(rules.length, "elements", count)?;
    for index in 0..count {
        value(lexicons, &rules.items, data, depth + 1).map_err(|fault| fault.inside(&index.to_string()))?;
    }
    Ok(())
}

fn reference(lexicons: &Lexicons, name: &Name, data: &mut Decoder<'_>, depth: usize) -> Checked {
    let mut at = name;
    for _ in 0..REFERENCES_MAX {
        match lexicons.definition(at)? {
            Definition::Type(Schema::Ref(next)) => at = next,
            found => return definition(lexicons, at, found, data, depth),
        }
    }
    Err(Box::new(Fault::Broken { name: name.as_str().into() }))
}

fn definition(
    lexicons: &Lexicons,
    name: &Name,
    found: &Definition,
    data: &mut Decoder<'_>,
    depth: usize,
) -> Checked {
    match found {
        Definition::Type(schema) => value(lexicons, schema, data, depth),
        Definition::Record(record) => object(lexicons, &record.object, data, depth),
        Definition::Method(_) | Definition::PermissionSet => {
            Err(Box::new(Fault::Broken { name: name.as_str().into() }))
        }
    }
}

fn union(lexicons: &Lexicons, rules: &UnionRules, data: &mut Decoder<'_>, depth: usize) -> Checked {
    if kind(data) != Some(Kind::Map) {
        return broken(Why::NoType);
    }
    let Some(found) = type_of(data)? else { return broken(Why::NoType) };
    match rules.of.iter().find(|name| name.is(found)) {
        Some(name) => reference(lexicons, name, data, depth),
        None if rules.closed => broken(Why::Type(listed(rules.of.iter().map(Name::as_str)))),
        None => data.skip().map_err(unreadable),
    }
}

/// Reads the `$type` of the map that comes next, and leaves the map.
fn type_of<'a>(data: &Decoder<'a>) -> Result<Option<&'a str>, Box<Fault>> {
    const TYPE: &str = "$type";
    let mut ahead = data.clone();
    for _ in 0..ahead.map().map_err(unreadable)? {
        let key = ahead.text().map_err(unreadable)?;
        match key_order(key.as_bytes(), TYPE.as_bytes()) {
            Ordering::Less => ahead.skip().map_err(unreadable)?,
            Ordering::Equal if kind(&ahead) == Some(Kind::Text) => {
                return ahead.text().map(Some).map_err(unreadable);
            }
            Ordering::Equal | Ordering::Greater => break,
        }
    }
    Ok(None)
}

fn token(name: &Name, data: &mut Decoder<'_>) -> Checked {
    expect(data, Kind::Text, "a string")?;
    if name.is(data.text().map_err(unreadable)?) {
        Ok(())
    } else {
        broken(Why::Constant(name.as_str().to_owned()))
    }
}

/// Checks a blob reference: exactly `ref`, `size`, `$type` and `mimeType`, which is also their order.
fn blob(rules: &BlobRules, data: &mut Decoder<'_>) -> Checked {
    let mut read = || {
        let entries = data.map()?;
        data.key("ref")?;
        data.link()?;
        data.key("size")?;
        let size = data.int()?;
        data.key("$type")?;
        let is_blob = data.text()? == "blob";
        data.key("mimeType")?;
        Ok::<_, DecodeError>((entries == 4 && is_blob && size >= 0, size, data.text()?))
    };
    let Ok((true, size, media)) = read() else { return broken(Why::Kind("a blob")) };
    if !rules.accept.is_empty() && !rules.accept.iter().any(|accepted| covers(accepted, media)) {
        return broken(Why::Media(listed(rules.accept.iter().map(|accepted| &**accepted))));
    }
    if u64::try_from(size).is_ok_and(|size| size > rules.size_max) {
        return broken(Why::Size { max: rules.size_max, size });
    }
    Ok(())
}

/// Says whether a media type, or a pattern such as `image/*`, covers another.
fn covers(accepted: &str, media: &str) -> bool {
    match accepted.strip_suffix('*') {
        Some("*/") => true,
        Some(start) => media.starts_with(start),
        None => accepted == media,
    }
}

fn integer(rules: &IntegerRules, found: i64) -> Checked {
    if rules.constant.is_some_and(|constant| constant != found) {
        return broken(Why::Constant(rules.constant.unwrap_or_default().to_string()));
    }
    if !(rules.min..=rules.max).contains(&found) {
        return broken(Why::Range { min: rules.min, max: rules.max });
    }
    if !rules.one_of.is_empty() && !rules.one_of.contains(&found) {
        return broken(Why::OneOf(listed(rules.one_of.iter())));
    }
    Ok(())
}

fn text(rules: &TextRules, found: &str) -> Checked {
    length(rules.bytes, "bytes", found.len())?;
    if rules.graphemes != Bounds::ANY {
        graphemes(rules.graphemes, found)?;
    }
    if let Some(constant) = &rules.constant
        && **constant != *found
    {
        return broken(Why::Constant(format!("\"{constant}\"")));
    }
    if !rules.one_of.is_empty() && !rules.one_of.iter().any(|one| **one == *found) {
        return broken(Why::OneOf(listed(rules.one_of.iter())));
    }
    match rules.format {
        Some(format) if !format.fits(found) => broken(Why::Format(format.name())),
        _ => Ok(()),
    }
}

/// Counts no further than it must: there are no more grapheme clusters than bytes, and no fewer than one.
fn graphemes(bounds: Bounds, found: &str) -> Checked {
    if found.len() <= bounds.max && bounds.min <= usize::from(!found.is_empty()) {
        return Ok(());
    }
    length(bounds, "characters", found.graphemes(true).count())
}

fn length(bounds: Bounds, unit: &'static str, length: usize) -> Checked {
    if bounds.allow(length) { Ok(()) } else { broken(Why::Length { bounds, unit, length }) }
}

/// Writes alternatives one after the other, not more than a message can bear.
fn listed<T: fmt::Display>(of: impl Iterator<Item = T>) -> String {
    const SHOWN_MAX: usize = 12;
    let mut words: Vec<String> = of.take(SHOWN_MAX + 1).map(|one| one.to_string()).collect();
    if words.len() > SHOWN_MAX {
        words.truncate(SHOWN_MAX);
        words.push("others".to_owned());
    }
    words.join(", ")
}

impl Format {
    /// All formats by their names in lexicons.
    pub(super) const ALL: [(&'static str, Self); 11] = [
        ("at-identifier", Self::AtIdentifier),
        ("at-uri", Self::AtUri),
        ("cid", Self::Cid),
        ("datetime", Self::Datetime),
        ("did", Self::Did),
        ("handle", Self::Handle),
        ("language", Self::Language),
        ("nsid", Self::Nsid),
        ("record-key", Self::RecordKey),
        ("tid", Self::Tid),
        ("uri", Self::Uri),
    ];

    /// Finds a format by its name in lexicons.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(have, _)| *have == name).map(|(_, format)| *format)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, have)| *have == self).map_or("text", |(name, _)| name)
    }

    fn fits(self, text: &str) -> bool {
        match self {
            Self::AtIdentifier => AtIdentifier::parse(text).is_ok(),
            Self::AtUri => AtUri::parse(text).is_ok(),
            Self::Cid => CidString::parse(text).is_ok(),
            Self::Datetime => Datetime::parse(text).is_ok(),
            Self::Did => Did::parse(text).is_ok(),
            Self::Handle => Handle::parse(text).is_ok(),
            Self::Language => Language::parse(text).is_ok(),
            Self::Nsid => Nsid::parse(text).is_ok(),
            Self::RecordKey => RecordKey::parse(text).is_ok(),
            Self::Tid => Tid::parse(text).is_ok(),
            Self::Uri => Uri::parse(text).is_ok(),
        }
    }
}
