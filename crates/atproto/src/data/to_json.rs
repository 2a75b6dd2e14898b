//! Values and stored bytes to JSON, appended to a buffer.

use std::io::Write;

use data_encoding::BASE64_NOPAD;

use super::DataError;
use crate::cbor::{DEPTH_MAX, DecodeError, Decoder, Malformed, Value};
use crate::cid::Cid;

/// Appends a value as JSON. Map keys come in their canonical order.
pub fn value_to_json(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(bool) => write_bool(out, *bool),
        Value::Int(int) => write_int(out, *int),
        Value::Text(text) => write_text(out, text),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::Link(cid) => write_link(out, cid),
        Value::List(list) => {
            out.push(b'[');
            for (index, item) in list.iter().enumerate() {
                separate(out, index);
                value_to_json(item, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (index, (key, item)) in map.iter().enumerate() {
                separate(out, index);
                write_text(out, key);
                out.push(b':');
                value_to_json(item, out);
            }
            out.push(b'}');
        }
    }
}

/// Appends one DAG-CBOR value as JSON without building it; for records that were checked when they were stored.
///
/// The order of map keys is not checked again. On an error the buffer is as it was before.
pub fn cbor_to_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), DataError> {
    let before = out.len();
    let mut decoder = Decoder::new(bytes);
    let written = write_next(&mut decoder, out, 0).and_then(|()| decoder.finish());
    if written.is_err() {
        out.truncate(before);
    }
    written.map_err(DataError::Cbor)
}

fn write_next(decoder: &mut Decoder<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), DecodeError> {
    if depth > DEPTH_MAX {
        return Err(DecodeError { at: decoder.at(), why: Malformed::TooDeep });
    }
    // The three highest bits of an item's first byte are its kind (RFC 8949 section 3).
    match decoder.rest().first().map(|first| first >> 5) {
        Some(0 | 1) => write_int(out, decoder.int()?),
        Some(2) => write_bytes(out, decoder.bytes()?),
        Some(3) => write_text(out, decoder.text()?),
        Some(4) => {
            out.push(b'[');
            for index in 0..decoder.list()? {
                separate(out, index);
                write_next(decoder, out, depth + 1)?;
            }
            out.push(b']');
        }
        Some(5) => {
            out.push(b'{');
            for index in 0..decoder.map()? {
                separate(out, index);
                write_text(out, decoder.text()?);
                out.push(b':');
                write_next(decoder, out, depth + 1)?;
            }
            out.push(b'}');
        }
        Some(6) => write_link(out, &decoder.link()?),
        _ if decoder.null() => out.extend_from_slice(b"null"),
        _ => write_bool(out, decoder.bool()?),
    }
    Ok(())
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn write_bool(out: &mut Vec<u8>, bool: bool) {
    out.extend_from_slice(if bool { b"true" } else { b"false" });
}

fn write_int(out: &mut Vec<u8>, int: i64) {
    // Writing to memory cannot fail.
    write!(out, "{int}").unwrap_or_default();
}

/// Appends text with quotes and escapes.
fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing to memory cannot fail.
    serde_json::to_writer(out, text).unwrap_or_default();
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(br#"{"$bytes":""#);
    let start = out.len();
    out.resize(start + BASE64_NOPAD.encode_len(bytes.len()), 0);
    if let Some(place) = out.get_mut(start..) {
        BASE64_NOPAD.encode_mut(bytes, place);
    }
    out.extend_from_slice(br#""}"#);
}

fn write_link(out: &mut Vec<u8>, cid: &Cid) {
    write!(out, r#"{{"$link":"{cid}"}}"#).unwrap_or_default();
}
