//! What an account wrote after a revision, as far as views show it: posts and the profile.

use atproto::{
    data::cbor_to_json,
    syntax::{Did, Handle, Nsid, RecordKey},
    tid::Tid,
};
use serde_json::{Map, Value};
use store::StoredRecord;

use crate::{app::App, error::XrpcError};

const POST: &str = "app.bsky.feed.post";
const PROFILE: &str = "app.bsky.actor.profile";
/// Posts that are merged into one answer, the first ones after the revision; as in the reference.
const POSTS_MAX: usize = 10;
/// Newest posts by name among which those are looked for. Names are times, so that newly written posts are there.
const NAMES_MAX: usize = 50;

/// A post that the AppView does not know.
#[derive(Clone, Debug)]
pub(crate) struct LocalPost {
    pub(super) uri: String,
    pub(super) cid: String,
    /// When it was written, as views say it.
    pub(super) indexed_at: String,
    pub(super) record: Value,
    /// `app.bsky.feed.defs#postView`, once it was built.
    pub(super) view: Value,
}

/// What is to be merged. There is at least one post or the profile.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(super) did: Did,
    pub(super) handle: Handle,
    /// In the order in which they were written.
    pub(super) posts: Vec<LocalPost>,
    /// The profile's record, if it was written lately.
    pub(super) profile: Option<Map<String, Value>>,
    /// The profile's record, whenever it was written.
    pub(super) current_profile: Map<String, Value>,
    /// Base of the addresses of pictures.
    pub(super) public_url: String,
    /// When the oldest of all this was written, UTC microseconds.
    pub(super) oldest_us: u64,
}

/// Reads what an account wrote after a revision; `None` when there is nothing that views show.
///
/// # Errors
/// 500 when the store fails.
pub(super) async fn since(app: &App, did: &Did, since: Tid) -> Result<Option<Local>, XrpcError> {
    let names = (|| Ok((Nsid::parse(POST)?, Nsid::parse(PROFILE)?, RecordKey::parse("self")?)))();
    let (post, profile, own) = names.map_err(|e: atproto::syntax::SyntaxError| XrpcError::internal(e))?;
    let (did, public_url) = (did.clone(), app.config.public_url.clone());
    let found = app.store.read(move |r| {
        let Some(account) = r.account_by_did(&did)? else { return Ok(None) };
        // The usual case costs this one look.
        if account.head.rev <= since || !r.has_records_until(&account, since)? {
            return Ok(None);
        }
        let mut posts = r.list_records(&account, &post, NAMES_MAX, None, false)?;
        posts.retain(|record| record.rev > since);
        posts.sort_by_key(|record| record.rev);
        posts.truncate(POSTS_MAX);
        let profile = r.visible_record(&account, &profile, &own)?;
        Ok(Some((account, posts, profile)))
    });
    let Some((account, posts, profile)) = found.await? else { return Ok(None) };
    let new_profile = profile.as_ref().filter(|record| record.rev > since);
    let oldest = posts.iter().chain(new_profile).map(|record| record.rev.micros()).min();
    let Some(oldest_us) = oldest else { return Ok(None) };
    let is_new = new_profile.is_some();
    let current_profile = profile.as_ref().map(map).transpose()?.unwrap_or_default();
    let posts = posts.iter().map(|record| local_post(&account.did, record)).collect::<Result<_, _>>()?;
    Ok(Some(Local {
        did: account.did,
        handle: account.handle,
        posts,
        profile: is_new.then(|| current_profile.clone()),
        current_profile,
        public_url,
        oldest_us,
    }))
}

fn local_post(did: &Did, record: &StoredRecord) -> Result<LocalPost, XrpcError> {
    Ok(LocalPost {
        uri: format!("at://{did}/{POST}/{}", record.rkey),
        cid: record.cid.to_string(),
        indexed_at: platform::time::format_rfc3339_millis(record.rev.micros()),
        record: Value::Object(map(record)?),
        view: Value::Null,
    })
}

fn map(record: &StoredRecord) -> Result<Map<String, Value>, XrpcError> {
    let mut json = Vec::new();
    cbor_to_json(&record.bytes, &mut json).map_err(XrpcError::internal)?;
    serde_json::from_slice(&json).map_err(XrpcError::internal)
}
