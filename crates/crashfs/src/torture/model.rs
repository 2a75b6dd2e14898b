//! What the load does next: seeded choices over a small picture of what is in the store.
//!
//! Decides only; `load` does it.

use atproto::cid::Cid;
use atproto::data::{Record, record_to_cbor};
use atproto::syntax::{Did, Nsid, RecordKey};
use bytes::Bytes;
use fastrand::Rng;

use super::TortureError;

/// Collections that records go to.
const COLLECTIONS: [&str; 3] = ["app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.graph.follow"];

/// Most calls at once in one step: enough to share a transaction.
const CALLS_MAX: usize = 5;

/// Largest blob, bytes; a few are written in several pieces.
const BLOB_BYTES_MAX: usize = 20_000;

/// Longest text of a common record, bytes, and of the rare long one, which takes overflow pages.
const TEXT_BYTES_MAX: usize = 500;
const LONG_TEXT_BYTES: usize = 6_000;

/// An account as the load knows it.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) did: Did,
    records: Vec<(Nsid, RecordKey)>,
    /// Posts with a picture, and its blob with its content.
    pictures: Vec<Picture>,
    /// Those whose blob the operator hides.
    hidden: Vec<Picture>,
    pub(super) sessions: Vec<Token>,
}

/// A post with a picture.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) rkey: RecordKey,
    pub(crate) blob: Cid,
    pub(crate) content: Bytes,
}

/// A refresh token, and the one that was exchanged for it.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) before: Option<String>,
}

/// One change of a record.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) collection: Nsid,
    pub(crate) rkey: RecordKey,
    pub(crate) kind: Kind,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Create(Record),
    Put(Record),
    Delete,
}

/// One call, or two that belong together.
#[derive(Debug)]
pub(crate) enum Act {
    Write {
        did: Did,
        edits: Vec<Edit>,
    },
    /// An upload and a post that shows it.
    Picture {
        did: Did,
        rkey: RecordKey,
        content: Vec<u8>,
    },
    /// Removes such a post, and with it the blob.
    DropPicture {
        did: Did,
        picture: Picture,
    },
    /// The operator hides the blob of such a post, or shows it again.
    Hide {
        did: Did,
        picture: Picture,
        hides: bool,
    },
    /// The operator hides a record which may come later.
    HideRecord {
        did: Did,
        rkey: RecordKey,
        reference: String,
    },
    /// A lexicon was fetched.
    Lexicon {
        nsid: Nsid,
        body: Vec<u8>,
    },
    /// An upload that nothing ever refers to.
    LooseBlob {
        did: Did,
        content: Vec<u8>,
    },
    Login {
        did: Did,
        token: String,
    },
    Refresh {
        did: Did,
        token: String,
        next: String,
    },
    /// Ends a session; the token before it is worth nothing then.
    Logout {
        did: Did,
        token: Token,
    },
    Preferences {
        did: Did,
        bytes: Vec<u8>,
    },
    Handle {
        did: Did,
        handle: String,
    },
    /// Removes what has had its time.
    Maintain,
}

/// The load's picture of the store, and its dice.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) rng: Rng,
    pub(crate) owners: Vec<Owner>,
    counter: u64,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), owners: Vec::new(), counter: 0 }
    }

    /// Takes an account into the mix, with what is in its repo already.
    pub(crate) fn add_owner(&mut self, did: Did, records: Vec<(Nsid, RecordKey)>) {
        self.owners.push(Owner {
            did,
            records,
            pictures: Vec::new(),
            hidden: Vec::new(),
            sessions: Vec::new(),
        });
    }

    /// Takes the records of an account as replaced by others.
    pub(crate) fn replace_records(&mut self, did: &Did, records: Vec<(Nsid, RecordKey)>) {
        if let Some(owner) = self.owners.iter_mut().find(|owner| owner.did == *did) {
            owner.records = records;
            owner.pictures.clear();
            owner.hidden.clear();
        }
    }

    /// Chooses calls that run at the same time; no two concern the same thing.
    pub(crate) fn step(&mut self) -> Result<Vec<Act>, TortureError> {
        let calls = self.rng.usize(1..=CALLS_MAX);
        let mut acts = Vec::with_capacity(calls);
        let mut busy = Vec::new();
        for _ in 0..calls {
            let owner = self.rng.usize(..self.owners.len().max(1));
            // New records never meet; anything else of one account waits for the next step.
            let act = if busy.contains(&owner) || self.rng.u8(..100) < 35 {
                self.creates(owner)?
            } else {
                self.other(owner)?
            };
            busy.push(owner);
            acts.push(act);
        }
        Ok(acts)
    }

    fn did(&self, owner: usize) -> Result<Did, TortureError> {
        let owner = self.owners.get(owner).ok_or_else(|| TortureError::Plan("no account".to_owned()))?;
        Ok(owner.did.clone())
    }

    /// One new record, or a batch of them.
    fn creates(&mut self, owner: usize) -> Result<Act, TortureError> {
        let count = if self.rng.u8(..6) == 0 { self.rng.usize(2..25) } else { 1 };
        let mut edits = Vec::with_capacity(count);
        for _ in 0..count {
            let (collection, rkey) = (self.collection()?, self.rkey()?);
            let kind = Kind::Create(self.record(&collection)?);
            if let Some(owner) = self.owners.get_mut(owner) {
                owner.records.push((collection.clone(), rkey.clone()));
            }
            edits.push(Edit { collection, rkey, kind });
        }
        Ok(Act::Write { did: self.did(owner)?, edits })
    }

    fn other(&mut self, owner: usize) -> Result<Act, TortureError> {
        let did = self.did(owner)?;
        let dice = self.rng.u8(..100);
        let Some(own) = self.owners.get_mut(owner) else { return self.creates(owner) };
        match dice {
            0..34 => self.changes(owner),
            34..38 if !own.pictures.is_empty() => {
                let picture = own.pictures.swap_remove(self.rng.usize(..own.pictures.len()));
                own.hidden.push(picture.clone());
                Ok(Act::Hide { did, picture, hides: true })
            }
            38..42 if !own.hidden.is_empty() => {
                let picture = own.hidden.swap_remove(self.rng.usize(..own.hidden.len()));
                own.pictures.push(picture.clone());
                Ok(Act::Hide { did, picture, hides: false })
            }
            42..52 => Ok(Act::Picture { did, rkey: self.rkey()?, content: self.blob() }),
            52..60 if !own.pictures.is_empty() => {
                let picture = own.pictures.swap_remove(self.rng.usize(..own.pictures.len()));
                Ok(Act::DropPicture { did, picture })
            }
            60..64 => Ok(Act::LooseBlob { did, content: self.blob() }),
            64..74 => {
                let token = self.fresh("token");
                self.with(owner, |own| own.sessions.push(Token { id: token.clone(), before: None }));
                Ok(Act::Login { did, token })
            }
            74..80 if !own.sessions.is_empty() => {
                let token = own.sessions.swap_remove(self.rng.usize(..own.sessions.len())).id;
                let next = self.fresh("token");
                let after = Token { id: next.clone(), before: Some(token.clone()) };
                self.with(owner, |own| own.sessions.push(after));
                Ok(Act::Refresh { did, token, next })
            }
            80..84 if !own.sessions.is_empty() => {
                let token = own.sessions.swap_remove(self.rng.usize(..own.sessions.len()));
                Ok(Act::Logout { did, token })
            }
            84..86 => {
                // A few names, so that what is known is fetched again.
                let name = format!("test.lexicon.kind{}", self.rng.u8(..6));
                let nsid = Nsid::parse(&name).map_err(|error| TortureError::Plan(error.to_string()))?;
                let len = self.rng.usize(100..3_000);
                Ok(Act::Lexicon { nsid, body: self.bytes(len) })
            }
            86 => {
                let (rkey, reference) = (self.rkey()?, self.fresh("case"));
                Ok(Act::HideRecord { did, rkey, reference })
            }
            87..90 => {
                let len = self.rng.usize(10..3_000);
                Ok(Act::Preferences { did, bytes: self.bytes(len) })
            }
            90..94 => Ok(Act::Handle { did, handle: format!("{}.test", self.fresh("name")) }),
            94..98 => Ok(Act::Maintain),
            _ => self.creates(owner),
        }
    }

    /// Several changes of records that may be there, in one commit.
    fn changes(&mut self, owner: usize) -> Result<Act, TortureError> {
        let count = if self.rng.bool() { 1 } else { self.rng.usize(2..12) };
        let did = self.did(owner)?;
        let mut edits: Vec<Edit> = Vec::with_capacity(count);
        for _ in 0..count {
            let known = self.owners.get(owner).map(|own| own.records.len()).unwrap_or_default();
            if known == 0 {
                break;
            }
            let which = self.rng.usize(..known);
            let removed = self.owners.get_mut(owner).map(|own| own.records.swap_remove(which));
            let Some((collection, rkey)) = removed else { break };
            if edits.iter().any(|edit| edit.collection == collection && edit.rkey == rkey) {
                self.with(owner, |own| own.records.push((collection, rkey)));
                continue;
            }
            let kind = if self.rng.bool() {
                Kind::Delete
            } else {
                let record = self.record(&collection)?;
                self.with(owner, |own| own.records.push((collection.clone(), rkey.clone())));
                Kind::Put(record)
            };
            edits.push(Edit { collection, rkey, kind });
        }
        if edits.is_empty() { self.creates(owner) } else { Ok(Act::Write { did, edits }) }
    }

    fn with(&mut self, owner: usize, change: impl FnOnce(&mut Owner)) {
        if let Some(owner) = self.owners.get_mut(owner) {
            change(owner);
        }
    }

    /// Notes a post with a picture.
    pub(crate) fn shown(&mut self, did: &Did, picture: Picture) {
        if let Some(owner) = self.owners.iter_mut().find(|owner| owner.did == *did) {
            owner.pictures.push(picture);
        }
    }

    fn fresh(&mut self, what: &str) -> String {
        self.counter += 1;
        format!("{what}{}", self.counter)
    }

    fn collection(&mut self) -> Result<Nsid, TortureError> {
        let name = self.rng.choice(COLLECTIONS).unwrap_or("app.bsky.feed.post");
        Nsid::parse(name).map_err(|error| TortureError::Plan(error.to_string()))
    }

    /// A name that sorts anywhere, so that all parts of the tree change.
    pub(crate) fn rkey(&mut self) -> Result<RecordKey, TortureError> {
        let name = format!("{:06x}{}", self.rng.u32(..1 << 24), self.fresh("r"));
        RecordKey::parse(&name).map_err(|error| TortureError::Plan(error.to_string()))
    }

    /// A record of any length.
    pub(crate) fn record(&mut self, collection: &Nsid) -> Result<Record, TortureError> {
        let len = if self.rng.u8(..20) == 0 { LONG_TEXT_BYTES } else { self.rng.usize(1..TEXT_BYTES_MAX) };
        let text: String = (0..len).map(|_| self.rng.alphanumeric()).collect();
        encode(&format!("{{\"text\":\"{text}\"}}"), collection)
    }

    /// New names and records, for an import.
    pub(crate) fn many(&mut self, count: usize) -> Result<Vec<(Nsid, RecordKey, Record)>, TortureError> {
        let one = |model: &mut Self| {
            let collection = model.collection()?;
            Ok((collection.clone(), model.rkey()?, model.record(&collection)?))
        };
        (0..count).map(|_| one(self)).collect()
    }

    fn blob(&mut self) -> Vec<u8> {
        let len = self.rng.usize(1..BLOB_BYTES_MAX);
        self.bytes(len)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.rng.fill(&mut bytes);
        bytes
    }
}

/// Makes the post that shows a picture.
pub(crate) fn picture_post(blob: &Cid, size: usize, collection: &Nsid) -> Result<Record, TortureError> {
    let json = format!(
        "{{\"text\":\"a picture\",\"image\":{{\"$type\":\"blob\",\"ref\":{{\"$link\":\"{blob}\"}},\
         \"mimeType\":\"image/png\",\"size\":{size}}}}}"
    );
    encode(&json, collection)
}

fn encode(json: &str, collection: &Nsid) -> Result<Record, TortureError> {
    record_to_cbor(json.as_bytes(), collection).map_err(|error| TortureError::Plan(error.to_string()))
}
