//! References from records to blobs.

use crate::cbor::{Map, Value};
use crate::cid::Cid;

/// Names a blob that a record uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobRef {
    /// The blob's content.
    pub cid: Cid,
    /// The media type that the record claims.
    pub mime: String,
    /// The size that the record claims, in bytes; none in the form of before 2023, which new records may not use.
    pub size: Option<u64>,
}

impl BlobRef {
    /// Says whether the reference is of the form of before 2023 (`cid` and `mimeType` only).
    pub fn is_legacy(&self) -> bool {
        self.size.is_none()
    }
}

/// Collects the blobs that a value names, sorted, each once.
pub fn blob_refs(value: &Value) -> Vec<BlobRef> {
    let mut found = Vec::new();
    collect(value, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

fn collect(value: &Value, found: &mut Vec<BlobRef>) {
    match value {
        Value::List(list) => list.iter().for_each(|item| collect(item, found)),
        Value::Map(map) => match typed(map).or_else(|| legacy(map)) {
            Some(blob) => found.push(blob),
            None => map.iter().for_each(|(_, item)| collect(item, found)),
        },
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Bytes(_) | Value::Text(_) | Value::Link(_) => {}
    }
}

/// Reads `{"$type": "blob", "ref": link, "mimeType": text, "size": integer}`.
pub(super) fn typed(map: &Map) -> Option<BlobRef> {
    let is_blob = map.len() == 4 && map.get("$type")?.as_text()? == "blob";
    if !is_blob {
        return None;
    }
    let size = u64::try_from(map.get("size")?.as_int()?).ok()?;
    let mime = map.get("mimeType")?.as_text()?.to_owned();
    Some(BlobRef { cid: map.get("ref")?.as_link()?, mime, size: Some(size) })
}

/// Reads `{"cid": text, "mimeType": text}`.
pub(super) fn legacy(map: &Map) -> Option<BlobRef> {
    if map.len() != 2 {
        return None;
    }
    let cid = Cid::parse(map.get("cid")?.as_text()?).ok()?;
    Some(BlobRef { cid, mime: map.get("mimeType")?.as_text()?.to_owned(), size: None })
}
