//! Finds a lexicon that somebody published: DNS names the account, its server has the record, its key proves it.
//!
//! For `com.example.things.note` the TXT record `_lexicon.things.example.com` says `did=...`; the record lies in that
//! account's repo, under `com.atproto.lexicon.schema`. Source: atproto specification "Lexicon", publication.

use std::{collections::HashMap, sync::Arc};

use atproto::{
    car,
    cid::Cid,
    crypto::PublicKey,
    did_doc::DidDocument,
    lexicon::{LEXICON_BYTES_MAX, Lexicon},
    mst::Tree,
    repo::{decode_commit, verify},
    syntax::{Did, Handle, Nsid, RecordKey},
};
use bytes::Bytes;

use super::{ABSENT_LIFE_NS, FAILED_LIFE_NS, Found, LIFE_NS, STALE_NS};
use crate::{app::App, metrics::Outbound, outbound};

/// The collection of lexicons.
const COLLECTION: &str = "com.atproto.lexicon.schema";
/// What a TXT record that names an account begins with.
const TXT_PREFIX: &str = "did=";
/// Largest proof that is read, bytes: a lexicon, a commit, and a path of tree nodes.
const PROOF_BYTES_MAX: usize = LEXICON_BYTES_MAX + 256 * 1024;

/// Says why a lexicon could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("the store could not be asked")]
    Store(#[source] store::StoreError),
    #[error("DNS could not be asked")]
    Dns(#[source] crate::identity::DnsError),
    #[error("the publisher's document could not be had")]
    Identity(#[source] crate::identity::IdentityError),
    #[error("the publisher's server could not be asked")]
    Outbound(#[source] crate::outbound::OutboundError),
    #[error("the publisher's server answers {0}")]
    Status(u16),
    #[error("the proof does not hold: {0}")]
    Proof(&'static str),
}

/// Looks in the store, then outside; what is found outside is kept.
pub(super) async fn find(app: &App, name: &Nsid) -> Found {
    let wanted = name.clone();
    let stored = app.store.read(move |r| r.lexicon(&wanted)).await.ok().flatten();
    let now_us = app.clock.now().ok().map(platform::time::TrustedTime::unix_micros);
    let stored = stored.map(|stored| {
        // Without trusted time what is stored counts as just found.
        let age_us = now_us.map_or(0, |now| now.saturating_sub(stored.fetched_us));
        (read(name, stored.body.as_deref()), age_us.saturating_mul(1000))
    });
    match stored {
        Some((Some(lexicon), age_ns)) if age_ns < LIFE_NS => return Found::Lexicon(lexicon, age_ns),
        Some((None, age_ns)) if age_ns < ABSENT_LIFE_NS => return Found::Nothing(age_ns),
        _ => {}
    }
    match fetch(app, name).await {
        Ok(body) => {
            let lexicon = read(name, body.as_deref());
            let body = body.filter(|_| lexicon.is_some());
            if let Err(error) = app.store.keep_lexicon(name.clone(), body).await {
                tracing::debug!(%name, %error, "a lexicon was not kept");
            }
            lexicon.map_or(Found::Nothing(0), |lexicon| Found::Lexicon(lexicon, 0))
        }
        Err(error) => {
            app.metrics.outbound_failed(Outbound::Lexicon);
            tracing::debug!(%name, error = &error as &dyn std::error::Error, "a lexicon could not be had");
            match stored {
                Some((Some(lexicon), age_ns)) if age_ns < STALE_NS => {
                    Found::Lexicon(lexicon, LIFE_NS - FAILED_LIFE_NS)
                }
                _ => Found::Failed,
            }
        }
    }
}

/// Reads a lexicon that must be the one of its name.
fn read(name: &Nsid, body: Option<&[u8]>) -> Option<Arc<Lexicon>> {
    let lexicon = Lexicon::from_cbor(body?).inspect_err(|error| {
        tracing::debug!(%name, %error, "what was published is not a lexicon");
    });
    lexicon.ok().filter(|lexicon| lexicon.id() == name).map(Arc::new)
}

/// Fetches the record outside; none when there certainly is none.
async fn fetch(app: &App, name: &Nsid) -> Result<Option<Vec<u8>>, ResolveError> {
    let texts = app.identity.txt(&txt_name(name)).await.map_err(ResolveError::Dns)?;
    let Some(did) = publisher(&texts) else { return Ok(None) };
    if let Some(own) = own(app, &did, name).await.map_err(ResolveError::Store)? {
        return Ok(own);
    }
    let document = app.identity.document(&did).await.map_err(ResolveError::Identity)?;
    let proof = ask(app, &document, &did, name).await?;
    let Some(proof) = proof else { return Ok(None) };
    match prove(&proof, &did, document.atproto_key(), name) {
        // The account may have changed its key or server just now.
        Err(ResolveError::Proof(_)) => {
            let document = app.identity.fresh_document(&did).await.map_err(ResolveError::Identity)?;
            prove(&proof, &did, document.atproto_key(), name)
        }
        proven => proven,
    }
}

/// Reads the record of an account that is hosted here; the outer none says that it is not. Many home networks cannot
/// reach their own public address.
async fn own(app: &App, did: &Did, name: &Nsid) -> Result<Option<Option<Vec<u8>>>, store::StoreError> {
    let (did, name) = (did.clone(), name.clone());
    app.store
        .read(move |r| {
            let Some(account) = r.account_by_did(&did)?.filter(|a| a.status == store::Status::Active) else {
                return Ok(None);
            };
            let (Ok(collection), Ok(key)) = (Nsid::parse(COLLECTION), RecordKey::parse(name.as_str())) else {
                return Ok(None);
            };
            Ok(Some(r.record(&account, &collection, &key)?.map(|record| record.bytes.to_vec())))
        })
        .await
}

/// The name of the TXT record: the authority's parts in the order of DNS.
fn txt_name(name: &Nsid) -> String {
    let parts: Vec<&str> = name.authority().rsplit('.').collect();
    format!("_lexicon.{}", parts.join("."))
}

/// The one account that the texts name; none when they name several.
fn publisher(texts: &[String]) -> Option<Did> {
    let mut dids = texts.iter().filter_map(|text| text.strip_prefix(TXT_PREFIX));
    let did = dids.next()?;
    if dids.any(|other| other != did) { None } else { Did::parse(did.trim()).ok() }
}

/// Asks the publisher's server for the record with its proof; none when it says that there is no record or no repo.
async fn ask(
    app: &App,
    document: &DidDocument,
    did: &Did,
    name: &Nsid,
) -> Result<Option<Vec<u8>>, ResolveError> {
    let Some(url) = document.pds_endpoint().and_then(|endpoint| method_url(endpoint, app.config.dev_mode))
    else {
        return Ok(None);
    };
    let query = [("did", did.as_str()), ("collection", COLLECTION), ("rkey", name.as_str())];
    let url = reqwest::Url::parse_with_params(&url, query).map_err(|_| ResolveError::Proof("no address"))?;
    let failed = |error| ResolveError::Outbound(outbound::OutboundError::Request(error));
    let response = app.lexicons.web.get(url).send().await.map_err(failed)?;
    match response.status().as_u16() {
        200 => {}
        400 | 404 => return Ok(None),
        status => return Err(ResolveError::Status(status)),
    }
    outbound::read_body(response, PROOF_BYTES_MAX).await.map(Some).map_err(ResolveError::Outbound)
}

/// The address of `com.atproto.sync.getRecord` at a server that a stranger's document names: a host name of the
/// internet by https; anything in `dev_mode`.
fn method_url(endpoint: &str, dev_mode: bool) -> Option<String> {
    let url = reqwest::Url::parse(endpoint).ok()?;
    let is_public = || {
        url.scheme() == "https"
            && url.username().is_empty()
            && url.domain().and_then(|host| Handle::parse(host).ok()).is_some_and(|host| !host.is_reserved())
    };
    (dev_mode || is_public()).then(|| format!("{endpoint}/xrpc/com.atproto.sync.getRecord"))
}

/// Takes the record out of a proof that holds; none when it proves that there is no such record.
fn prove(
    proof: &[u8],
    did: &Did,
    key: Option<PublicKey>,
    name: &Nsid,
) -> Result<Option<Vec<u8>>, ResolveError> {
    let wrong = ResolveError::Proof;
    let key = key.ok_or(wrong("the document has no key"))?;
    let reader = car::Reader::new(proof).map_err(|_| wrong("not a CAR"))?;
    let &[root] = reader.roots() else { return Err(wrong("not one root")) };
    let blocks: HashMap<Cid, Bytes> =
        reader.collect::<Result<_, _>>().map_err(|_| wrong("a block is damaged"))?;
    let commit = blocks.get(&root).ok_or(wrong("the commit is missing"))?;
    let commit = decode_commit(commit).map_err(|_| wrong("the commit is damaged"))?;
    if commit.did != *did {
        return Err(wrong("the commit is another's"));
    }
    verify(&commit, &key).map_err(|_| wrong("the signature does not fit"))?;
    let found = Tree::load(commit.data).get(&blocks, &format!("{COLLECTION}/{name}"));
    let Some(cid) = found.map_err(|_| wrong("the tree is damaged"))? else { return Ok(None) };
    let record = blocks.get(&cid).ok_or(wrong("the record is missing"))?;
    Ok(Some(record.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_the_authority_in_the_order_of_dns() {
        let name = Nsid::parse("com.example.things.note").unwrap();
        assert_eq!(txt_name(&name), "_lexicon.things.example.com");
    }

    #[test]
    fn believes_dns_only_when_it_names_one_account() {
        let texts = |texts: &[&str]| publisher(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        assert!(texts(&["v=spf1", "did=did:web:example.com"]).is_some());
        assert!(texts(&["did=did:web:example.com", "did=did:web:example.com"]).is_some());
        assert!(texts(&["did=did:web:a.example.com", "did=did:web:b.example.com"]).is_none());
        assert!(texts(&["did=nonsense"]).is_none());
        assert!(texts(&[]).is_none());
    }

    #[test]
    fn strangers_cannot_name_hosts_of_the_inside() {
        for inside in [
            "http://pds.example.com",
            "https://10.0.0.1",
            "https://[::1]",
            "https://localhost",
            "https://a@pds.example.com",
            "https://printer.local",
            "x",
        ] {
            assert_eq!(method_url(inside, false), None, "{inside}");
        }
        assert!(method_url("https://pds.example.com", false).is_some());
        assert!(method_url("http://localhost:2583", true).is_some());
    }
}
