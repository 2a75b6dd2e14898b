//! JSON straight to canonical DAG-CBOR, in one pass over the input.
//!
//! Each object's entries are written in the order in which they come; when the object ends they are put in order
//! in place. What an object means (`$link`, `$bytes`, a blob) is decided at that moment from its encoded entries.

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use data_encoding::{BASE64_NOPAD, Encoding, Specification};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::blob::{self, BlobRef};
use super::{DataError, INTEGER_MAX, JSON_DEPTH_MAX};
use crate::cbor::{self, Decoder, ITEMS_MAX, Value};
use crate::cid::Cid;

/// Base64 whose unused last bits need not be zero: the interoperability files hold such text.
static BASE64_LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    specification.check_trailing_bits = false;
    specification.encoding().unwrap_or(BASE64_NOPAD)
});

/// Encodes a JSON object; gives the bytes and the blobs named in it, sorted, each once.
///
/// With a collection, the outermost `$type` is checked against it or added.
pub(super) fn encode(json: &[u8], collection: Option<&str>) -> Result<(Vec<u8>, Vec<BlobRef>), DataError> {
    let mut encoder = Encoder {
        out: Vec::with_capacity(json.len()),
        entries: Vec::new(),
        scratch: Vec::new(),
        blobs: Vec::new(),
        items: 0,
        depth: 0,
        collection,
        fault: None,
    };
    let mut parser = serde_json::Deserializer::from_slice(json);
    let parsed = Item(&mut encoder).deserialize(&mut parser).and_then(|()| parser.end());
    if let Some(fault) = encoder.fault {
        return Err(fault);
    }
    parsed.map_err(DataError::Json)?;
    encoder.blobs.sort_unstable();
    encoder.blobs.dedup();
    Ok((encoder.out, encoder.blobs))
}

/// One entry of an object that is being read, as places in the output.
#[derive(Clone, Debug)]
struct Entry {
    /// Where the key's head begins.
    start: usize,
    /// The key's text.
    key: Range<usize>,
    /// Where the value ends.
    end: usize,
}

struct Encoder<'a> {
    out: Vec<u8>,
    /// Entries of all objects that are open, outermost first.
    entries: Vec<Entry>,
    scratch: Vec<u8>,
    blobs: Vec<BlobRef>,
    items: usize,
    depth: usize,
    collection: Option<&'a str>,
    /// What went wrong beyond syntax; the parser's error type cannot carry it.
    fault: Option<DataError>,
}

impl Encoder<'_> {
    /// Remembers the fault and gives an error that stops the parser.
    fn stop<E: Error>(&mut self, fault: DataError) -> E {
        self.fault.get_or_insert(fault);
        E::custom("stopped")
    }

    fn enter<E: Error>(&mut self) -> Result<usize, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(self.stop(DataError::TooDeep));
        }
        self.depth += 1;
        let start = self.out.len();
        // Room for the head of up to 23 elements; more are rare and move the body.
        self.out.push(0);
        Ok(start)
    }

    fn count<E: Error>(&mut self) -> Result<(), E> {
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(self.stop(DataError::TooManyItems));
        }
        Ok(())
    }

    /// Puts the head of a list or map of `length` elements at `start`, where one byte was kept free.
    fn leave(&mut self, start: usize, length: usize, write: fn(&mut Vec<u8>, usize)) {
        self.depth -= 1;
        let mut head = std::mem::take(&mut self.scratch);
        head.clear();
        write(&mut head, length);
        match (head.as_slice(), self.out.get_mut(start)) {
            (&[only], Some(place)) => *place = only,
            _ => drop(self.out.splice(start..=start, head.iter().copied())),
        }
        self.scratch = head;
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.out.get(range).unwrap_or_default()
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        self.bytes(entry.key.clone())
    }

    fn find(&self, base: usize, key: &str) -> Option<&Entry> {
        self.entries.get(base..)?.iter().find(|entry| self.key(entry) == key.as_bytes())
    }

    /// Gives an entry's value if it is text.
    fn text(&self, entry: &Entry) -> Option<&str> {
        Decoder::new(self.bytes(entry.key.end..entry.end)).text().ok()
    }

    /// Ends an object whose entries are those from `base` on.
    fn end_object<E: Error>(&mut self, start: usize, base: usize, dollar: bool) -> Result<(), E> {
        if dollar && self.end_special(start, base)? {
            return Ok(());
        }
        if self.depth == 1
            && let Some(collection) = self.collection
        {
            self.settle_type(base, collection)?;
        }
        let length = self.entries.len() - base;
        if !self.put_in_order(start + 1, base) {
            return Err(self.stop(DataError::DuplicateKey));
        }
        self.entries.truncate(base);
        self.leave(start, length, cbor::write_map);
        if dollar || length == 2 {
            self.note_blob(start)?;
        }
        Ok(())
    }

    /// Ends a link or bytes in place of the object; says whether it was one. Checks `$type` as well.
    fn end_special<E: Error>(&mut self, start: usize, base: usize) -> Result<bool, E> {
        let alone = self.entries.len() - base == 1;
        let link = self.find(base, "$link").map(|entry| self.text(entry).map(Cid::parse));
        match link {
            Some(Some(Ok(cid))) if alone && self.depth > 1 => {
                self.replace(start, base);
                cbor::write_link(&mut self.out, &cid);
                return Ok(true);
            }
            Some(_) => return Err(self.stop(DataError::BadLink)),
            None => {}
        }
        let bytes = self.find(base, "$bytes").map(|entry| self.text(entry).map(decode_base64));
        match bytes {
            Some(Some(Some(bytes))) if alone && self.depth > 1 => {
                self.replace(start, base);
                cbor::write_bytes(&mut self.out, &bytes);
                return Ok(true);
            }
            Some(_) => return Err(self.stop(DataError::BadBytes)),
            None => {}
        }
        let bad_type =
            self.find(base, "$type").is_some_and(|entry| self.text(entry).is_none_or(str::is_empty));
        if bad_type { Err(self.stop(DataError::BadType)) } else { Ok(false) }
    }

    /// Takes the object's text away so that another item can stand in its place.
    fn replace(&mut self, start: usize, base: usize) {
        self.depth -= 1;
        self.entries.truncate(base);
        self.out.truncate(start);
    }

    /// Makes the `$type` of the outermost object the collection.
    fn settle_type<E: Error>(&mut self, base: usize, collection: &str) -> Result<(), E> {
        match self.find(base, "$type") {
            Some(entry) if self.text(entry) == Some(collection) => Ok(()),
            Some(_) => Err(self.stop(DataError::OtherType { expected: collection.to_owned() })),
            None => {
                self.count()?;
                let start = self.out.len();
                let key = write_key(&mut self.out, "$type");
                cbor::write_text(&mut self.out, collection);
                self.entries.push(Entry { start, key, end: self.out.len() });
                Ok(())
            }
        }
    }

    /// Sorts the entries from `base` on and their bytes from `body` on; says false when a key comes twice.
    fn put_in_order(&mut self, body: usize, base: usize) -> bool {
        let Self { out, entries, scratch, .. } = self;
        let own = entries.get_mut(base..).unwrap_or_default();
        let key = |entry: &Entry| out.get(entry.key.clone()).unwrap_or_default();
        let canonical = |a: &Entry, b: &Entry| a.key.len().cmp(&b.key.len()).then_with(|| key(a).cmp(key(b)));
        if own.is_sorted_by(|a, b| canonical(a, b).is_lt()) {
            return true;
        }
        own.sort_unstable_by(canonical);
        if !own.is_sorted_by(|a, b| canonical(a, b).is_lt()) {
            return false;
        }
        scratch.clear();
        for entry in own.iter() {
            scratch.extend_from_slice(out.get(entry.start..entry.end).unwrap_or_default());
        }
        out.truncate(body);
        out.extend_from_slice(scratch);
        true
    }

    /// Notes the finished object at `start` if it is a blob; refuses one that only claims to be.
    fn note_blob<E: Error>(&mut self, start: usize) -> Result<(), E> {
        let mut reader = Decoder::new(self.bytes(start..self.out.len()));
        if !may_be_blob(&mut reader) {
            return Ok(());
        }
        let value = cbor::decode(self.bytes(start..self.out.len()));
        let Ok(Value::Map(map)) = value else { return Ok(()) };
        let claims = map.get("$type").and_then(Value::as_text) == Some("blob");
        match blob::typed(&map).or_else(|| blob::legacy(&map)) {
            Some(blob) => self.blobs.push(blob),
            None if claims => return Err(self.stop(DataError::BadBlob)),
            None => {}
        }
        Ok(())
    }
}

/// Says by a few entries whether an object may be a blob of either form, without building it.
///
/// In canonical order `cid` comes before `mimeType`, and `$type` after `ref` and `size`.
fn may_be_blob(reader: &mut Decoder<'_>) -> bool {
    let Ok(length) = reader.map() else { return false };
    for _ in 0..length {
        match reader.text() {
            Ok("cid") => return length == 2 && reader.skip().is_ok() && reader.text() == Ok("mimeType"),
            Ok("$type") => return reader.text() == Ok("blob"),
            Ok(_) if reader.skip().is_ok() => {}
            _ => return false,
        }
    }
    false
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_LENIENT.decode(text.trim_end_matches('=').as_bytes()).ok()
}

/// Writes a key; gives the place of its text.
fn write_key(out: &mut Vec<u8>, key: &str) -> Range<usize> {
    cbor::write_text(out, key);
    out.len() - key.len()..out.len()
}

/// Takes one JSON value and writes it.
struct Item<'a, 'b>(&'a mut Encoder<'b>);

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Item<'_, '_> {
    /// Refuses a scalar as the outermost value.
    fn inside<E: Error>(&mut self) -> Result<&mut Vec<u8>, E> {
        if self.0.depth == 0 {
            return Err(self.0.stop(DataError::NotObject));
        }
        Ok(&mut self.0.out)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the data model")
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        cbor::write_null(self.inside()?);
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, bool: bool) -> Result<(), E> {
        cbor::write_bool(self.inside()?, bool);
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, int: i64) -> Result<(), E> {
        if !(-INTEGER_MAX..=INTEGER_MAX).contains(&int) {
            return Err(self.0.stop(DataError::IntegerRange));
        }
        cbor::write_int(self.inside()?, int);
        Ok(())
    }

    fn visit_u64<E: Error>(self, int: u64) -> Result<(), E> {
        self.visit_i64(i64::try_from(int).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<(), E> {
        /// 2^50: the parser reads fractions to within 2 units in the last place, which is less than a half up to
        /// here, so that no number becomes its neighbour. Integers written as such are exact up to 53 bits.
        const FLOAT_MAX: f64 = 1_125_899_906_842_624.0;
        if float.fract() != 0.0 || !float.is_finite() {
            return Err(self.0.stop(DataError::Float));
        }
        if float.abs() > FLOAT_MAX {
            return Err(self.0.stop(DataError::IntegerRange));
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and within 53 bits")]
        let int = float as i64;
        self.visit_i64(int)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        cbor::write_text(self.inside()?, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.inside::<A::Error>()?;
        let start = self.0.enter()?;
        let mut length = 0;
        while list.next_element_seed(Item(self.0))?.is_some() {
            self.0.count()?;
            length += 1;
        }
        self.0.leave(start, length, cbor::write_list);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let encoder = self.0;
        let start = encoder.enter()?;
        let base = encoder.entries.len();
        let mut dollar = false;
        loop {
            let entry_start = encoder.out.len();
            let Some(key) = object.next_key_seed(Key(encoder))? else { break };
            dollar |= encoder.bytes(key.clone()).first() == Some(&b'$');
            encoder.count()?;
            object.next_value_seed(Item(encoder))?;
            encoder.entries.push(Entry { start: entry_start, key, end: encoder.out.len() });
        }
        encoder.end_object(start, base, dollar)
    }
}

/// Takes one key of an object and writes it.
struct Key<'a, 'b>(&'a mut Encoder<'b>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Range<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Range<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = Range<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Range<usize>, E> {
        Ok(write_key(&mut self.0.out, key))
    }
}
