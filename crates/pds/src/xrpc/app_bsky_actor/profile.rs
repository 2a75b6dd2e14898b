//! A profile made from the account's own record.

use atproto::{
    data::cbor_to_json,
    syntax::{AtIdentifier, Nsid, RecordKey},
};
use serde_json::{Map, Value, json};

use super::super::shared::read_hosted;

use crate::{app::App, error::XrpcError};

/// Builds `app.bsky.actor.defs#profileViewDetailed` of a hosted account; `None` when it is not hosted or not active.
pub(super) async fn of(app: &App, actor: &AtIdentifier) -> Result<Option<Map<String, Value>>, XrpcError> {
    let collection = Nsid::parse("app.bsky.actor.profile").map_err(XrpcError::internal)?;
    let rkey = RecordKey::parse("self").map_err(XrpcError::internal)?;
    let found =
        read_hosted(app, actor, move |r, account| r.visible_record(account, &collection, &rkey)).await?;
    let Some((account, record)) = found else { return Ok(None) };
    let record = record.map_or(Ok(Map::new()), |r| to_json(&r.bytes))?;
    let mut view = Map::new();
    view.insert("did".to_owned(), json!(account.did.as_str()));
    view.insert("handle".to_owned(), json!(account.handle.as_str()));
    view.insert("displayName".to_owned(), record.get("displayName").cloned().unwrap_or_else(|| json!("")));
    for name in ["description", "pronouns", "website", "createdAt", "pinnedPost", "joinedViaStarterPack"] {
        if let Some(value) = record.get(name) {
            view.insert(name.to_owned(), value.clone());
        }
    }
    for name in ["avatar", "banner"] {
        if let Some(cid) =
            record.get(name).and_then(|blob| blob.pointer("/ref/$link")).and_then(Value::as_str)
        {
            let url = format!(
                "{}/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}",
                app.config.public_url, account.did
            );
            view.insert(name.to_owned(), json!(url));
        }
    }
    // Nobody here counts who follows whom across the network.
    for name in ["followersCount", "followsCount", "postsCount"] {
        view.insert(name.to_owned(), json!(0));
    }
    view.insert("labels".to_owned(), json!([]));
    view.insert(
        "indexedAt".to_owned(),
        json!(platform::time::format_rfc3339_millis(account.head.rev.micros())),
    );
    Ok(Some(view))
}

/// A stored record as JSON.
fn to_json(bytes: &[u8]) -> Result<Map<String, Value>, XrpcError> {
    let mut out = Vec::new();
    cbor_to_json(bytes, &mut out).map_err(XrpcError::internal)?;
    serde_json::from_slice(&out).map_err(XrpcError::internal)
}
