//! The commit block: who, which tree, which revision, signed.

use super::REPO_VERSION;
use crate::cbor::{self, DecodeError, Decoder, Malformed};
use crate::cid::Cid;
use crate::crypto::{CryptoError, PublicKey, SigningKey};
use crate::syntax::{Did, SyntaxError};
use crate::tid::Tid;
use bytes::Bytes;

const SIGNATURE_BYTES: usize = 64;

/// A signed commit. Its signature may not have been checked; see `verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub did: Did,
    /// Root of the tree.
    pub data: Cid,
    pub rev: Tid,
    /// Always `None` in what we write; older repositories have a link here, which the signature covers.
    pub prev: Option<Cid>,
    pub sig: [u8; SIGNATURE_BYTES],
}

/// Why a block is not a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("the commit is not the encoding of one")]
    Cbor(#[from] DecodeError),
    #[error("the commit has no valid DID")]
    Did(#[source] SyntaxError),
    #[error("the commit has no valid revision")]
    Rev(#[source] SyntaxError),
    #[error("the commit's signature does not have {SIGNATURE_BYTES} bytes")]
    SignatureLength,
    #[error("the commit is of repository version {0}, not {REPO_VERSION}")]
    Version(u64),
}

/// Signs the tree `data` as revision `rev` of the repository of `did`; returns the commit block and its name.
///
/// `rev` must come from a trusted time; order among revisions is the caller's duty.
#[must_use]
pub fn sign(did: &Did, data: Cid, rev: Tid, key: &SigningKey) -> (Cid, Bytes) {
    let mut block = Vec::with_capacity(256);
    write(&mut block, did, &data, rev, None, None);
    let sig = key.sign(&block);
    block.clear();
    write(&mut block, did, &data, rev, None, Some(&sig));
    (Cid::for_dag_cbor(&block), block.into())
}

/// Checks the signature: made by `key`, low-S, over the commit without it.
pub fn verify(commit: &Commit, key: &PublicKey) -> Result<(), CryptoError> {
    let mut unsigned = Vec::with_capacity(256);
    write(&mut unsigned, &commit.did, &commit.data, commit.rev, commit.prev, None);
    key.verify(&unsigned, &commit.sig)
}

/// Decodes a commit block of version 3. The signature is not checked here.
pub fn decode_commit(block: &[u8]) -> Result<Commit, CommitError> {
    let mut decoder = Decoder::new(block);
    if decoder.map()? != 6 {
        return Err(DecodeError { at: 0, why: Malformed::Expected("a commit of six fields") }.into());
    }
    decoder.key("did")?;
    let did = Did::parse(decoder.text()?).map_err(CommitError::Did)?;
    decoder.key("rev")?;
    let rev = Tid::parse(decoder.text()?).map_err(CommitError::Rev)?;
    decoder.key("sig")?;
    let sig = decoder.bytes()?.try_into().map_err(|_| CommitError::SignatureLength)?;
    decoder.key("data")?;
    let data = decoder.link()?;
    decoder.key("prev")?;
    let prev = decoder.link_or_null()?;
    decoder.key("version")?;
    let version = decoder.uint()?;
    decoder.finish()?;
    if version != REPO_VERSION {
        return Err(CommitError::Version(version));
    }
    Ok(Commit { did, data, rev, prev, sig })
}

fn write(out: &mut Vec<u8>, did: &Did, data: &Cid, rev: Tid, prev: Option<Cid>, sig: Option<&[u8]>) {
    cbor::write_map(out, if sig.is_some() { 6 } else { 5 });
    cbor::write_text(out, "did");
    cbor::write_text(out, did.as_str());
    cbor::write_text(out, "rev");
    cbor::write_text(out, rev.as_str());
    if let Some(sig) = sig {
        cbor::write_text(out, "sig");
        cbor::write_bytes(out, sig);
    }
    cbor::write_text(out, "data");
    cbor::write_link(out, data);
    cbor::write_text(out, "prev");
    match prev {
        Some(prev) => cbor::write_link(out, &prev),
        None => cbor::write_null(out),
    }
    cbor::write_text(out, "version");
    cbor::write_uint(out, REPO_VERSION);
}
