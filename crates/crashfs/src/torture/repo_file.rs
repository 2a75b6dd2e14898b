//! The file of a repo, as another server would hand it over for an import.

use std::collections::BTreeMap;

use atproto::car;
use atproto::crypto::SigningKey;
use atproto::data::Record;
use atproto::mst::build_sorted;
use atproto::syntax::{Did, Tid};

use super::TortureError;

/// Makes the file of a repo of records by `collection/rkey`, signed with a key of that server's own.
///
/// # Errors
/// [`TortureError::Plan`] when no key can be made, or a path is none.
pub fn repo_file(did: &Did, rev: Tid, records: &BTreeMap<String, Record>) -> Result<Vec<u8>, TortureError> {
    let failed = |error: &dyn std::error::Error| TortureError::Plan(error.to_string());
    let mut nodes = Vec::new();
    let entries = records.iter().map(|(path, record)| (path.as_str(), record.cid));
    let root =
        build_sorted(entries, |cid, block| nodes.push((cid, block))).map_err(|error| failed(&error))?;
    let key = SigningKey::generate().map_err(|error| failed(&error))?;
    let (commit, block) = atproto::repo::sign(did, root, rev, &key);
    let nodes = nodes.iter().map(|(cid, block)| (*cid, &block[..]));
    let bodies = records.values().map(|record| (record.cid, record.bytes.as_slice()));
    Ok(car::to_vec(&[commit], std::iter::once((commit, &block[..])).chain(nodes).chain(bodies)))
}
