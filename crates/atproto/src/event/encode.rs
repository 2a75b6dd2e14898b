//! Writes frames. Field order is DAG-CBOR's: shorter names first, then by bytes.

use super::{
    AccountEvent, BLOCKS_BYTES_MAX, CommitEvent, FrameError, IdentityEvent, OPS_MAX, SYNC_BLOCKS_BYTES_MAX,
    SyncEvent,
};
use crate::cbor;
use crate::cid::Cid;
use bytes::Bytes;
use platform::time::TrustedTime;

/// Bytes of a frame besides blocks and operations: header, field names, DID, CIDs, time, and room to spare.
const FIXED_BYTES: usize = 640;
/// Bytes of an operation besides its path: two links, action and field names.
const OP_BYTES: usize = 128;

/// Encodes a `#commit`. Fails when the event is beyond the limits that every consumer enforces.
pub fn commit_frame(seq: u64, time: TrustedTime, event: &CommitEvent) -> Result<Bytes, FrameError> {
    if event.blocks.len() > BLOCKS_BYTES_MAX || event.ops.len() > OPS_MAX {
        return Err(FrameError::TooLarge);
    }
    let ops: usize = event.ops.iter().map(|op| OP_BYTES + op.path.len()).sum();
    let mut out = Vec::with_capacity(FIXED_BYTES + event.did.as_str().len() + ops + event.blocks.len());
    header(&mut out, "#commit");
    cbor::write_map(&mut out, if event.prev_data.is_some() { 12 } else { 11 });
    cbor::write_text(&mut out, "ops");
    cbor::write_list(&mut out, event.ops.len());
    for op in &event.ops {
        cbor::write_map(&mut out, if op.prev.is_some() { 4 } else { 3 });
        cbor::write_text(&mut out, "cid");
        link_or_null(&mut out, op.cid);
        text_field(&mut out, "path", &op.path);
        if let Some(prev) = &op.prev {
            cbor::write_text(&mut out, "prev");
            cbor::write_link(&mut out, prev);
        }
        text_field(&mut out, "action", op.action.as_str());
    }
    text_field(&mut out, "rev", event.rev.as_str());
    seq_field(&mut out, seq);
    text_field(&mut out, "repo", event.did.as_str());
    text_field(&mut out, "time", &time.to_rfc3339());
    cbor::write_text(&mut out, "blobs");
    cbor::write_list(&mut out, 0);
    cbor::write_text(&mut out, "since");
    match event.since {
        Some(since) => cbor::write_text(&mut out, since.as_str()),
        None => cbor::write_null(&mut out),
    }
    cbor::write_text(&mut out, "blocks");
    cbor::write_bytes(&mut out, &event.blocks);
    cbor::write_text(&mut out, "commit");
    cbor::write_link(&mut out, &event.commit);
    cbor::write_text(&mut out, "rebase");
    cbor::write_bool(&mut out, false);
    cbor::write_text(&mut out, "tooBig");
    cbor::write_bool(&mut out, false);
    if let Some(prev_data) = &event.prev_data {
        cbor::write_text(&mut out, "prevData");
        cbor::write_link(&mut out, prev_data);
    }
    Ok(out.into())
}

/// Encodes a `#sync`. Fails when its blocks are more than a commit.
pub fn sync_frame(seq: u64, time: TrustedTime, event: &SyncEvent) -> Result<Bytes, FrameError> {
    if event.blocks.len() > SYNC_BLOCKS_BYTES_MAX {
        return Err(FrameError::TooLarge);
    }
    let mut out = Vec::with_capacity(FIXED_BYTES + event.did.as_str().len() + event.blocks.len());
    header(&mut out, "#sync");
    cbor::write_map(&mut out, 5);
    text_field(&mut out, "did", event.did.as_str());
    text_field(&mut out, "rev", event.rev.as_str());
    seq_field(&mut out, seq);
    text_field(&mut out, "time", &time.to_rfc3339());
    cbor::write_text(&mut out, "blocks");
    cbor::write_bytes(&mut out, &event.blocks);
    Ok(out.into())
}

/// Encodes an `#identity`.
#[must_use]
pub fn identity_frame(seq: u64, time: TrustedTime, event: &IdentityEvent) -> Bytes {
    let mut out = Vec::new();
    header(&mut out, "#identity");
    cbor::write_map(&mut out, if event.handle.is_some() { 4 } else { 3 });
    text_field(&mut out, "did", event.did.as_str());
    seq_field(&mut out, seq);
    text_field(&mut out, "time", &time.to_rfc3339());
    if let Some(handle) = &event.handle {
        text_field(&mut out, "handle", handle.as_str());
    }
    out.into()
}

/// Encodes an `#account`.
#[must_use]
pub fn account_frame(seq: u64, time: TrustedTime, event: &AccountEvent) -> Bytes {
    let mut out = Vec::new();
    header(&mut out, "#account");
    cbor::write_map(&mut out, if event.inactive.is_some() { 5 } else { 4 });
    text_field(&mut out, "did", event.did.as_str());
    seq_field(&mut out, seq);
    text_field(&mut out, "time", &time.to_rfc3339());
    cbor::write_text(&mut out, "active");
    cbor::write_bool(&mut out, event.inactive.is_none());
    if let Some(status) = event.inactive {
        text_field(&mut out, "status", status.as_str());
    }
    out.into()
}

/// Encodes an `#info`, which has no sequence number; `name` is `OutdatedCursor` so far.
#[must_use]
pub fn info_frame(name: &str, message: &str) -> Bytes {
    let mut out = Vec::new();
    header(&mut out, "#info");
    cbor::write_map(&mut out, 2);
    text_field(&mut out, "name", name);
    text_field(&mut out, "message", message);
    out.into()
}

/// Encodes an error, such as `FutureCursor` or `ConsumerTooSlow`; the connection is closed after it.
#[must_use]
pub fn error_frame(error: &str, message: &str) -> Bytes {
    let mut out = Vec::new();
    cbor::write_map(&mut out, 1);
    cbor::write_text(&mut out, "op");
    cbor::write_int(&mut out, -1);
    cbor::write_map(&mut out, 2);
    text_field(&mut out, "error", error);
    text_field(&mut out, "message", message);
    out.into()
}

fn header(out: &mut Vec<u8>, kind: &str) {
    cbor::write_map(out, 2);
    text_field(out, "t", kind);
    cbor::write_text(out, "op");
    cbor::write_uint(out, 1);
}

fn text_field(out: &mut Vec<u8>, name: &str, text: &str) {
    cbor::write_text(out, name);
    cbor::write_text(out, text);
}

fn seq_field(out: &mut Vec<u8>, seq: u64) {
    cbor::write_text(out, "seq");
    cbor::write_uint(out, seq);
}

fn link_or_null(out: &mut Vec<u8>, cid: Option<Cid>) {
    match cid {
        Some(cid) => cbor::write_link(out, &cid),
        None => cbor::write_null(out),
    }
}
