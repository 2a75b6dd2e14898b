//! Canonical encoding: values, and the heads and scalars that fixed shapes are written with.

use super::Value;
use crate::cid::Cid;

pub(super) const UNSIGNED: u8 = 0 << 5;
pub(super) const NEGATIVE: u8 = 1 << 5;
pub(super) const BYTES: u8 = 2 << 5;
pub(super) const TEXT: u8 = 3 << 5;
pub(super) const LIST: u8 = 4 << 5;
pub(super) const MAP: u8 = 5 << 5;
pub(super) const FALSE: u8 = 0xf4;
pub(super) const TRUE: u8 = 0xf5;
pub(super) const NULL: u8 = 0xf6;

/// Tag 42, a byte string of 37 bytes, and the zero that marks a binary CID.
pub(super) const LINK_HEAD: [u8; 5] = [0xd8, 42, 0x58, 0x25, 0x00];

/// Encodes a value canonically.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(&mut out, value);
    out
}

/// Appends the canonical encoding of a value.
pub fn encode_into(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => write_null(out),
        Value::Bool(bool) => write_bool(out, *bool),
        Value::Int(int) => write_int(out, *int),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::Text(text) => write_text(out, text),
        Value::Link(cid) => write_link(out, cid),
        Value::List(list) => {
            write_list(out, list.len());
            for item in list {
                encode_into(out, item);
            }
        }
        Value::Map(map) => {
            write_map(out, map.len());
            for (key, item) in map.iter() {
                write_text(out, key);
                encode_into(out, item);
            }
        }
    }
}

/// Appends a head: the major type and its argument in the fewest bytes.
fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = argument.to_be_bytes();
    match argument {
        0..=23 => out.push(major | b7),
        24..=0xff => out.extend_from_slice(&[major | 24, b7]),
        0x100..=0xffff => out.extend_from_slice(&[major | 25, b6, b7]),
        0x1_0000..=0xffff_ffff => out.extend_from_slice(&[major | 26, b4, b5, b6, b7]),
        _ => out.extend_from_slice(&[major | 27, b0, b1, b2, b3, b4, b5, b6, b7]),
    }
}

fn write_length(out: &mut Vec<u8>, major: u8, length: usize) {
    // No supported machine has a usize beyond 64 bits.
    write_head(out, major, u64::try_from(length).unwrap_or(u64::MAX));
}

/// Appends null.
pub fn write_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Appends a boolean.
pub fn write_bool(out: &mut Vec<u8>, bool: bool) {
    out.push(if bool { TRUE } else { FALSE });
}

/// Appends an integer that is not negative.
pub fn write_uint(out: &mut Vec<u8>, int: u64) {
    write_head(out, UNSIGNED, int);
}

/// Appends an integer.
pub fn write_int(out: &mut Vec<u8>, int: i64) {
    match u64::try_from(int) {
        Ok(int) => write_head(out, UNSIGNED, int),
        // CBOR stores -1 - n, which is the complement's magnitude.
        Err(_) => write_head(out, NEGATIVE, (!int).unsigned_abs()),
    }
}

/// Appends a byte string.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_length(out, BYTES, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends text; as a map key it is the caller's duty to keep the canonical order.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_length(out, TEXT, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends the head of a list; its elements follow.
pub fn write_list(out: &mut Vec<u8>, length: usize) {
    write_length(out, LIST, length);
}

/// Appends the head of a map; its keys and values follow, shorter keys first, then by bytes.
pub fn write_map(out: &mut Vec<u8>, length: usize) {
    write_length(out, MAP, length);
}

/// Appends a link.
pub fn write_link(out: &mut Vec<u8>, cid: &Cid) {
    out.extend_from_slice(&LINK_HEAD);
    out.extend_from_slice(cid.as_bytes());
}
