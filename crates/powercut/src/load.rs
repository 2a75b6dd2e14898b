//! The load: clients that make accounts, post, change, delete, upload, import and log in, an operator who hides blobs, and
//! notes of what they are promised.
//!
//! The seed decides the calls of each client. How the calls of several clients meet is up to the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use atproto::cid::Cid;
use atproto::data::{Record, record_to_cbor};
use atproto::syntax::{Did, Nsid};
use atproto::tid::Tid;
use bench::http::Http;
use bench::xrpc::{procedure, text};
use bytes::Bytes;
use crashfs::{Ledger, Thing, repo_file};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::firehose;
use crate::session::Notes;

/// Collections that records go to; their lexicons are not asked for.
const COLLECTIONS: [&str; 3] = ["app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.graph.follow"];

/// The collection of posts with pictures: no other call touches them.
const PICTURES: &str = "app.bsky.feed.picture";

/// Largest picture, bytes: several writes of a page cache.
const PICTURE_BYTES_MAX: usize = 40_000;

/// Longest text of a record, bytes, and of the rare long one, which takes overflow pages.
const TEXT_BYTES_MAX: usize = 600;
const LONG_TEXT_BYTES: usize = 6_000;

/// Most records of one batch.
const BATCH_MAX: usize = 12;

/// Records that an import brings, and the revision that its file is of: the PDS gives the repo a new one.
const IMPORTED: usize = 40;
const IMPORTED_REV: &str = "3kaaaaaaaaa2a";

/// The operator's password.
pub(crate) const ADMIN_PASSWORD: &str = "nine-random-words";

/// Calls of one client after which it makes itself another account.
const CALLS_PER_ACCOUNT: usize = 60;

/// Wait for the firehose at the end, on an emulated machine.
const LAG_MAX: Duration = Duration::from_secs(60);

const PASSWORD: &str = "a-long-enough-password";

/// How much is asked of one PDS.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed of the calls.
    pub seed: u64,
    /// Clients at the same time.
    pub clients: usize,
    /// Calls of each.
    pub calls: usize,
}

/// Runs the load on the PDS at `address` and gives what it promised.
///
/// # Errors
/// When a call fails: the load asks for nothing that a sound server would refuse.
pub fn run(address: &str, notes: &Arc<Notes>, plan: Plan) -> Result<Ledger> {
    let subscriber = {
        let (address, notes) = (address.to_owned(), Arc::clone(notes));
        std::thread::spawn(move || firehose::follow(&address, &notes))
    };
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| {
            let (address, notes) = (address.to_owned(), Arc::clone(notes));
            let seed = plan.seed.wrapping_mul(1_000).wrapping_add(u64::try_from(number).unwrap_or(0));
            std::thread::spawn(move || Client::new(&address, notes, seed, number)?.run(plan.calls))
        })
        .collect();
    for client in clients {
        match client.join() {
            Ok(ended) => ended?,
            Err(_) => bail!("a client of the load failed by a bug"),
        }
    }
    notes.wait_for_events(LAG_MAX)?;
    if subscriber.is_finished() {
        bail!("the firehose ended before the load");
    }
    Ok(notes.finish())
}

/// An account as its client knows it.
#[derive(Debug)]
struct Owner {
    did: Did,
    handle: String,
    access: String,
    /// Refresh tokens, each with the one that was exchanged for it.
    sessions: Vec<(String, Option<String>)>,
    records: Vec<(&'static str, String)>,
    pictures: Vec<Picture>,
    /// Those whose blob the operator hides.
    hidden: Vec<Picture>,
}

/// A post with a picture.
#[derive(Debug)]
struct Picture {
    rkey: String,
    blob: Cid,
    content: Bytes,
}

#[derive(Debug)]
struct Client {
    http: Http,
    notes: Arc<Notes>,
    rng: Rng,
    number: usize,
    counter: usize,
    owners: Vec<Owner>,
}

impl Client {
    fn new(address: &str, notes: Arc<Notes>, seed: u64, number: usize) -> Result<Self> {
        let http = Http::connect(address)?;
        Ok(Self { http, notes, rng: Rng::with_seed(seed), number, counter: 0, owners: Vec::new() })
    }

    fn run(mut self, calls: usize) -> Result<()> {
        for call in 0..calls {
            if call % CALLS_PER_ACCOUNT == 0 {
                self.make_account()?;
            }
            let which = self.rng.usize(..self.owners.len());
            let mut owner = self.owners.swap_remove(which);
            self.act(&mut owner)?;
            self.owners.push(owner);
        }
        // The last event of each repo is a commit, so that its coming says that all came.
        for mut owner in std::mem::take(&mut self.owners) {
            self.post(&mut owner)?;
        }
        Ok(())
    }

    fn act(&mut self, owner: &mut Owner) -> Result<()> {
        match self.rng.u8(..100) {
            0..36 => self.post(owner),
            36..50 => self.batch(owner),
            50..58 if !owner.records.is_empty() => self.delete(owner),
            58..78 => self.picture(owner),
            78..82 if !owner.pictures.is_empty() => self.drop_picture(owner),
            82..86 if !owner.pictures.is_empty() => self.hide(owner),
            86..90 if !owner.hidden.is_empty() => self.show(owner),
            90..92 => self.import(owner),
            92..94 => self.log_in(owner),
            94..97 if !owner.sessions.is_empty() => self.refresh(owner),
            97..99 if owner.sessions.len() > 1 => self.log_out(owner),
            _ => self.post(owner),
        }
    }

    fn fresh(&mut self, what: &str) -> String {
        self.counter += 1;
        format!("{what}{}x{}", self.number, self.counter)
    }

    /// A name that sorts anywhere, so that all parts of the tree change.
    fn rkey(&mut self) -> String {
        let place = self.rng.u32(..1 << 24);
        self.fresh(&format!("{place:06x}r"))
    }

    fn collection(&mut self) -> &'static str {
        self.rng.choice(COLLECTIONS).unwrap_or("app.bsky.feed.post")
    }

    fn record(&mut self, collection: &str) -> Result<(Value, Bytes)> {
        stored(self.text(collection), collection)
    }

    /// A record of any length.
    fn text(&mut self, collection: &str) -> Value {
        let len = if self.rng.u8(..30) == 0 { LONG_TEXT_BYTES } else { self.rng.usize(1..TEXT_BYTES_MAX) };
        let words: String = (0..len).map(|_| self.rng.alphanumeric()).collect();
        json!({ "$type": collection, "text": words })
    }

    fn make_account(&mut self) -> Result<()> {
        let handle = format!("{}.test", self.fresh("owner"));
        let input =
            json!({ "handle": handle, "email": format!("{handle}@example.org"), "password": PASSWORD });
        let begun = self.notes.position();
        let made = procedure(&mut self.http, "com.atproto.server.createAccount", None, &input)?;
        let did = Did::parse(text(&made, "did")?).context("createAccount gives no DID")?;
        let (access, refresh) = (text(&made, "accessJwt")?.to_owned(), text(&made, "refreshJwt")?.to_owned());
        let call = self.notes.began(
            begun,
            vec![
                (Thing::Account(did.clone()), Some(Bytes::from(handle.clone()))),
                (Thing::Status(did.clone()), Some(Bytes::from_static(b"active"))),
                (Thing::Session(did.clone(), token_id(&refresh)?), Some(live())),
            ],
        );
        let position = self.notes.answered(&call, &format!("{did} is made"), None);
        self.notes.holds_from(position, vec![(Thing::Intent(did.clone()), None)]);
        let sessions = vec![(refresh, None)];
        let (records, pictures, hidden) = (Vec::new(), Vec::new(), Vec::new());
        self.owners.push(Owner { did, handle, access, sessions, records, pictures, hidden });
        Ok(())
    }

    /// Makes a call that commits, and notes what it did.
    fn commit(
        &mut self,
        owner: &Owner,
        method: &str,
        input: &Value,
        values: Vec<(Thing, Option<Bytes>)>,
    ) -> Result<()> {
        let call = self.notes.begin(values);
        let answer = procedure(&mut self.http, method, Some(&owner.access), input)?;
        let rev = answer.get("commit").and_then(|commit| commit.get("rev")).and_then(Value::as_str);
        let rev = rev.map(Tid::parse).transpose().with_context(|| format!("{method}: no revision"))?;
        self.notes.answered(&call, method, rev.map(|rev| (&owner.did, rev)));
        Ok(())
    }

    fn post(&mut self, owner: &mut Owner) -> Result<()> {
        let (collection, rkey) = (self.collection(), self.rkey());
        let (record, bytes) = self.record(collection)?;
        let input = json!({
            "repo": owner.did.as_str(), "collection": collection, "rkey": rkey, "validate": false, "record": record,
        });
        let value = (record_thing(&owner.did, collection, &rkey), Some(bytes));
        self.commit(owner, "com.atproto.repo.createRecord", &input, vec![value])?;
        owner.records.push((collection, rkey));
        Ok(())
    }

    /// Creates, changes and deletes in one commit.
    fn batch(&mut self, owner: &mut Owner) -> Result<()> {
        let (mut writes, mut values, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rng.usize(2..=BATCH_MAX) {
            let known = if owner.records.is_empty() { 0 } else { self.rng.usize(..3) };
            let (collection, rkey) = if known == 0 {
                (self.collection(), self.rkey())
            } else {
                owner.records.swap_remove(self.rng.usize(..owner.records.len()))
            };
            let thing = record_thing(&owner.did, collection, &rkey);
            if known == 1 {
                let kind = "com.atproto.repo.applyWrites#delete";
                writes.push(json!({ "$type": kind, "collection": collection, "rkey": rkey }));
                values.push((thing, None));
                continue;
            }
            let kind = if known == 0 { "create" } else { "update" };
            let kind = format!("com.atproto.repo.applyWrites#{kind}");
            let (record, bytes) = self.record(collection)?;
            writes.push(json!({ "$type": kind, "collection": collection, "rkey": rkey, "value": record }));
            values.push((thing, Some(bytes)));
            kept.push((collection, rkey));
        }
        owner.records.append(&mut kept);
        let input = json!({ "repo": owner.did.as_str(), "validate": false, "writes": writes });
        self.commit(owner, "com.atproto.repo.applyWrites", &input, values)
    }

    fn delete(&mut self, owner: &mut Owner) -> Result<()> {
        let (collection, rkey) = owner.records.swap_remove(self.rng.usize(..owner.records.len()));
        let input = json!({ "repo": owner.did.as_str(), "collection": collection, "rkey": rkey });
        let value = (record_thing(&owner.did, collection, &rkey), None);
        self.commit(owner, "com.atproto.repo.deleteRecord", &input, vec![value])
    }

    /// Uploads a picture, and mostly posts it.
    fn picture(&mut self, owner: &mut Owner) -> Result<()> {
        let mut content = vec![0; self.rng.usize(1..PICTURE_BYTES_MAX)];
        self.rng.fill(&mut content);
        let (cid, size, content) = (Cid::for_raw(&content), content.len(), Bytes::from(content));
        let thing = Thing::Blob(owner.did.clone(), cid);
        let call = self.notes.begin(vec![(thing, Some(content.clone()))]);
        self.send_file(owner, "com.atproto.repo.uploadBlob", "image/png", &content)?;
        self.notes.answered(&call, "a blob is kept", None);
        if self.rng.u8(..5) == 0 {
            return Ok(());
        }
        let rkey = self.rkey();
        let image = json!({
            "$type": "blob", "ref": { "$link": cid.to_string() }, "mimeType": "image/png", "size": size,
        });
        let (record, bytes) =
            stored(json!({ "$type": PICTURES, "text": "a picture", "image": image }), PICTURES)?;
        let input = json!({
            "repo": owner.did.as_str(), "collection": PICTURES, "rkey": rkey, "validate": false, "record": record,
        });
        let value = (record_thing(&owner.did, PICTURES, &rkey), Some(bytes));
        self.commit(owner, "com.atproto.repo.createRecord", &input, vec![value])?;
        owner.pictures.push(Picture { rkey, blob: cid, content });
        Ok(())
    }

    /// Calls a method whose input is a file.
    fn send_file(&mut self, owner: &Owner, method: &str, kind: &str, content: &[u8]) -> Result<()> {
        let path = format!("/xrpc/{method}");
        let request = self.http.request("POST", &path, Some(&owner.access), Some((kind, content)));
        let answer = self.http.send(&request)?;
        if answer.status != 200 {
            bail!("{method}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        Ok(())
    }

    /// Replaces the repo by new records, as a file from another server.
    fn import(&mut self, owner: &mut Owner) -> Result<()> {
        let (did, notes) = (owner.did.clone(), Arc::clone(&self.notes));
        let _turn = notes.import_turn();
        let is_record = |thing: &Thing| matches!(thing, Thing::Record(of, _) if *of == did);
        let mut values: Vec<_> =
            self.notes.present(is_record).into_iter().map(|thing| (thing, None)).collect();
        let (mut names, mut bodies) = (Vec::new(), BTreeMap::new());
        for _ in 0..IMPORTED {
            let (collection, rkey) = (self.collection(), self.rkey());
            let record = kept(&self.text(collection), collection)?;
            values.push((record_thing(&did, collection, &rkey), Some(record.bytes.clone().into())));
            bodies.insert(format!("{collection}/{rkey}"), record);
            names.push((collection, rkey));
        }
        let rev = Tid::parse(IMPORTED_REV).context("a revision")?;
        let file = repo_file(&did, rev, &bodies).context("a repo's file")?;
        let call = self.notes.begin(values);
        // Blobs of the old records may go with them.
        let blobs = self.notes.present(|thing| matches!(thing, Thing::Blob(of, _) if *of == did));
        self.notes.may_go(call.begun, blobs);
        self.send_file(owner, "com.atproto.repo.importRepo", "application/vnd.ipld.car", &file)?;
        self.notes.answered(&call, "an import is kept", None);
        owner.records = names;
        owner.pictures.clear();
        owner.hidden.clear();
        Ok(())
    }

    /// The operator hides a blob, whose file goes into quarantine.
    fn hide(&mut self, owner: &mut Owner) -> Result<()> {
        let picture = owner.pictures.swap_remove(self.rng.usize(..owner.pictures.len()));
        self.hold(owner, &picture, None)?;
        owner.hidden.push(picture);
        Ok(())
    }

    /// The operator shows a blob again.
    fn show(&mut self, owner: &mut Owner) -> Result<()> {
        let picture = owner.hidden.swap_remove(self.rng.usize(..owner.hidden.len()));
        self.hold(owner, &picture, Some(picture.content.clone()))?;
        owner.pictures.push(picture);
        Ok(())
    }

    fn hold(&mut self, owner: &Owner, picture: &Picture, shown: Option<Bytes>) -> Result<()> {
        let method = "com.atproto.admin.updateSubjectStatus";
        let kind = "com.atproto.admin.defs#repoBlobRef";
        let input = json!({
            "subject": { "$type": kind, "did": owner.did.as_str(), "cid": picture.blob.to_string() },
            "takedown": { "applied": shown.is_none(), "ref": "case 1" },
        });
        let admin = format!("Basic {}", BASE64.encode(format!("admin:{ADMIN_PASSWORD}").as_bytes()));
        let body = input.to_string();
        let body = Some(("application/json", body.as_bytes()));
        let request = self.http.request_with("POST", &format!("/xrpc/{method}"), Some(&admin), body);
        let call = self.notes.begin(vec![(Thing::Blob(owner.did.clone(), picture.blob), shown)]);
        let answer = self.http.send(&request)?;
        if answer.status != 200 {
            bail!("{method}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        self.notes.answered(&call, "a blob is hidden or shown", None);
        Ok(())
    }

    /// Removes a post with a picture, and with it the picture.
    fn drop_picture(&mut self, owner: &mut Owner) -> Result<()> {
        let Picture { rkey, blob, .. } = owner.pictures.swap_remove(self.rng.usize(..owner.pictures.len()));
        let input = json!({ "repo": owner.did.as_str(), "collection": PICTURES, "rkey": rkey });
        let record = (record_thing(&owner.did, PICTURES, &rkey), None);
        let blob = (Thing::Blob(owner.did.clone(), blob), None);
        self.commit(owner, "com.atproto.repo.deleteRecord", &input, vec![record, blob])
    }

    fn log_in(&mut self, owner: &mut Owner) -> Result<()> {
        let input = json!({ "identifier": owner.handle, "password": PASSWORD });
        let begun = self.notes.position();
        let session = procedure(&mut self.http, "com.atproto.server.createSession", None, &input)?;
        let refresh = text(&session, "refreshJwt")?.to_owned();
        let thing = Thing::Session(owner.did.clone(), token_id(&refresh)?);
        let call = self.notes.began(begun, vec![(thing, Some(live()))]);
        self.notes.answered(&call, "a session is kept", None);
        owner.sessions.push((refresh, None));
        Ok(())
    }

    fn refresh(&mut self, owner: &mut Owner) -> Result<()> {
        let (old, _) = owner.sessions.swap_remove(self.rng.usize(..owner.sessions.len()));
        let begun = self.notes.position();
        let session = self.with_refresh(&old, "com.atproto.server.refreshSession")?;
        let next = text(&session, "refreshJwt")?.to_owned();
        text(&session, "accessJwt")?.clone_into(&mut owner.access);
        let (old_id, next_id) = (token_id(&old)?, token_id(&next)?);
        let session = |id: String| Thing::Session(owner.did.clone(), id);
        let values = vec![(session(old_id), Some(next_id.clone().into())), (session(next_id), Some(live()))];
        let call = self.notes.began(begun, values);
        self.notes.answered(&call, "a session is rotated", None);
        owner.sessions.push((next, Some(old)));
        Ok(())
    }

    /// Ends a session; the token before it is worth nothing then.
    fn log_out(&mut self, owner: &mut Owner) -> Result<()> {
        let (token, before) = owner.sessions.swap_remove(self.rng.usize(..owner.sessions.len()));
        let mut values = Vec::new();
        for token in [Some(&token), before.as_ref()].into_iter().flatten() {
            values.push((Thing::Session(owner.did.clone(), token_id(token)?), None));
        }
        let call = self.notes.begin(values);
        self.with_refresh(&token, "com.atproto.server.deleteSession")?;
        self.notes.answered(&call, "a session is ended", None);
        Ok(())
    }

    /// Calls a method that takes a refresh token and no input.
    fn with_refresh(&mut self, token: &str, method: &str) -> Result<Value> {
        let request = self.http.request("POST", &format!("/xrpc/{method}"), Some(token), None);
        let answer = self.http.send(&request)?;
        if answer.status != 200 {
            bail!("{method}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(answer.body).with_context(|| format!("{method}: no JSON"))
    }
}

/// A record as it is sent, and its bytes as they must be kept.
fn stored(record: Value, collection: &str) -> Result<(Value, Bytes)> {
    let bytes = kept(&record, collection)?.bytes.into();
    Ok((record, bytes))
}

/// A record as it must be kept.
fn kept(record: &Value, collection: &str) -> Result<Record> {
    let collection = Nsid::parse(collection).context("a collection")?;
    record_to_cbor(record.to_string().as_bytes(), &collection).context("a record")
}

fn record_thing(did: &Did, collection: &str, rkey: &str) -> Thing {
    Thing::Record(did.clone(), format!("{collection}/{rkey}"))
}

/// How the check names a session that still counts.
fn live() -> Bytes {
    Bytes::from_static(b"live")
}

/// The name of a token, from its claims.
fn token_id(token: &str) -> Result<String> {
    let claims = token.split('.').nth(1).context("a token without claims")?;
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).context("a token's claims")?;
    let claims: Value = serde_json::from_slice(&claims).context("a token's claims")?;
    Ok(text(&claims, "jti")?.to_owned())
}
