//! What a takedown is about: an account, a record or a blob.

use atproto::{
    cid::Cid,
    syntax::{AtIdentifier, AtUri, Did, Nsid, RecordKey},
};
use serde::{Deserialize, Serialize};
use store::{Account, StoreError};

use crate::{app::App, error::XrpcError, input::field};

/// The union of the lexicon, as it comes and goes out.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "$type")]
pub(super) enum Subject {
    /// An account.
    #[serde(rename = "com.atproto.admin.defs#repoRef")]
    Repo {
        /// Whose.
        did: String,
    },
    /// A record.
    #[serde(rename = "com.atproto.repo.strongRef")]
    Record {
        /// Its address.
        uri: String,
        /// Which version the decision was about; all versions are hidden.
        cid: String,
    },
    /// A blob.
    #[serde(rename = "com.atproto.admin.defs#repoBlobRef", rename_all = "camelCase")]
    Blob {
        /// Whose.
        did: String,
        /// Its name.
        cid: String,
        /// A record that refers to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record_uri: Option<String>,
    },
}

/// A subject whose parts have the right form.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// An account.
    Repo(Did),
    /// A record.
    Record(Did, Nsid, RecordKey),
    /// A blob.
    Blob(Did, Cid),
}

impl Subject {
    /// Checks the parts.
    pub(super) fn target(&self) -> Result<Target, XrpcError> {
        match self {
            Self::Repo { did } => Ok(Target::Repo(field("did", did, Did::parse)?)),
            Self::Record { uri, cid } => {
                field("cid", cid, Cid::parse)?;
                record(uri)
            }
            Self::Blob { did, cid, .. } => {
                Ok(Target::Blob(field("did", did, Did::parse)?, field("cid", cid, Cid::parse)?))
            }
        }
    }
}

/// Takes the address of a record apart; its authority must be a DID.
pub(super) fn record(uri: &str) -> Result<Target, XrpcError> {
    let parsed = field("uri", uri, AtUri::parse)?;
    let (Some(collection), Some(rkey)) = (parsed.collection(), parsed.rkey()) else {
        return Err(XrpcError::invalid_request("uri: names no record"));
    };
    Ok(Target::Record(
        field("uri", parsed.authority(), Did::parse)?,
        field("uri", collection, Nsid::parse)?,
        field("uri", rkey, RecordKey::parse)?,
    ))
}

/// Whether something is applied, and under which reference.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct StatusAttr {
    /// Whether it is.
    pub(super) applied: bool,
    /// What the moderation service calls the decision.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<String>,
}

impl StatusAttr {
    /// Applied with this reference, or not at all.
    pub(super) fn of(reference: Option<String>) -> Self {
        Self { applied: reference.is_some(), reference: reference.filter(|text| !text.is_empty()) }
    }
}

/// Finds the account that an operator's call is about.
pub(super) async fn account(app: &App, did: &Did) -> Result<Account, XrpcError> {
    app.account(&AtIdentifier::Did(did.clone())).await?.ok_or_else(not_found)
}

/// 400 `NotFound` for an account that is not here.
pub(super) fn not_found() -> XrpcError {
    XrpcError::bad("NotFound", "Account not found")
}

/// What an operator hears when the store refuses: an account that is gone is no question of rights.
pub(super) fn refused(err: StoreError) -> XrpcError {
    match err {
        StoreError::AccountNotFound => not_found(),
        other => other.into(),
    }
}
