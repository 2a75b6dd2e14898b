//! Record keys: the last part of a record's path.

use crate::tid::Tid;

use super::text_identifier;

/// Names a record within its collection, such as a TID or `self`.
///
/// 1 to 512 characters of `A-Z a-z 0-9 . - _ ~ :`, but neither `.` nor `..`.
/// Source: atproto specification "Record key".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey(Box<str>);

/// Longest record key, in characters.
const RECORD_KEY_BYTES_MAX: usize = 512;

impl RecordKey {
    pub(super) fn check(text: &str) -> Result<(), &'static str> {
        match text {
            "" => return Err("is empty"),
            "." | ".." => return Err("\".\" and \"..\" are not allowed"),
            _ => {}
        }
        if text.len() > RECORD_KEY_BYTES_MAX {
            return Err("longer than 512 characters");
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~' | b':');
        if !text.bytes().all(allowed) {
            return Err("has a character other than letters, digits and . - _ ~ :");
        }
        Ok(())
    }

    fn from_checked(text: Box<str>) -> Self {
        Self(text)
    }
}

impl From<Tid> for RecordKey {
    fn from(tid: Tid) -> Self {
        Self(Box::from(tid.as_str()))
    }
}

text_identifier!(RecordKey, "record key");
