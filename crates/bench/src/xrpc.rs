//! The few XRPC calls that a measurement makes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{http::Http, process::LOOK_INTERVAL};

/// Longest wait for a server that has just started to accept a token.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);

/// The collection that posts go to.
pub const POSTS: &str = "app.bsky.feed.post";

/// The password of every account made here.
const PASSWORD: &str = "a-long-enough-password";

/// An account that was made by us, with a session.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its DID.
    pub did: String,
    /// Its handle.
    pub handle: String,
    /// A current access token.
    pub token: String,
}

/// Calls a procedure with a JSON body.
///
/// Fails on any status but 200, with the server's words.
pub fn procedure(http: &mut Http, method: &str, token: Option<&str>, input: &Value) -> Result<Value> {
    let body = input.to_string();
    let request =
        http.request("POST", &format!("/xrpc/{method}"), token, Some(("application/json", body.as_bytes())));
    let answer = http.send(&request).with_context(|| method.to_owned())?;
    if answer.status != 200 {
        bail!("{method}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
    }
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(answer.body).with_context(|| format!("{method}: no JSON"))
}

/// Calls a query and returns its body. `query` is `method?parameters`.
///
/// Fails on any status but 200, with the server's words.
pub fn query(http: &mut Http, query: &str) -> Result<Vec<u8>> {
    let request = http.request("GET", &format!("/xrpc/{query}"), None, None);
    let answer = http.send(&request).with_context(|| query.to_owned())?;
    if answer.status != 200 {
        bail!("{query}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
    }
    Ok(answer.body.to_vec())
}

/// Calls a query that answers JSON.
pub fn query_json(http: &mut Http, call: &str) -> Result<Value> {
    serde_json::from_slice(&query(http, call)?).with_context(|| format!("{call}: no JSON"))
}

/// Waits until a token is accepted: after a start, a server may first have to learn the time.
pub fn wait_accepted(http: &mut Http, token: &str) -> Result<()> {
    let end = Instant::now() + ACCEPT_TIMEOUT;
    let request = http.request("GET", "/xrpc/com.atproto.server.getSession", Some(token), None);
    loop {
        let answer = http.send(&request)?;
        if answer.status == 200 {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("getSession: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// A text field of an answer.
pub fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.get(name).and_then(Value::as_str).with_context(|| format!("no text `{name}` in {value}"))
}

/// Makes an account with this handle.
pub fn create_account(http: &mut Http, handle: &str) -> Result<Account> {
    let input = json!({ "handle": handle, "email": format!("{handle}@example.org"), "password": PASSWORD });
    let made = procedure(http, "com.atproto.server.createAccount", None, &input)?;
    let (did, token) = (text(&made, "did")?.to_owned(), text(&made, "accessJwt")?.to_owned());
    Ok(Account { did, handle: handle.to_owned(), token })
}

/// Gives an account a new session, as after a restart or before its token ends.
pub fn log_in(http: &mut Http, account: &mut Account) -> Result<()> {
    let input = json!({ "identifier": account.handle, "password": PASSWORD });
    let session = procedure(http, "com.atproto.server.createSession", None, &input)?;
    account.token = text(&session, "accessJwt")?.to_owned();
    Ok(())
}

/// A small post, the same for the same number on any server: 45 to 180 bytes of text.
#[must_use]
pub fn post(number: u64) -> Value {
    let repeats = usize::try_from(number % 4).unwrap_or(0) + 1;
    let body = "The quick brown fox jumps over the lazy dog. ".repeat(repeats);
    let (minute, second) = (number / 60 % 60, number % 60);
    json!({
        "$type": POSTS,
        "text": format!("{number} {body}"),
        "createdAt": format!("2026-01-01T00:{minute:02}:{second:02}.000Z"),
        "langs": ["en"],
    })
}

/// The bytes of a `createRecord` request with a small post.
#[must_use]
pub fn post_request(http: &Http, account: &Account, number: u64) -> Vec<u8> {
    let input = json!({ "repo": account.did, "collection": POSTS, "record": post(number) }).to_string();
    let path = "/xrpc/com.atproto.repo.createRecord";
    http.request("POST", path, Some(&account.token), Some(("application/json", input.as_bytes())))
}

/// The input of `applyWrites` with `count` small posts from `first` on.
#[must_use]
pub fn batch(account: &Account, first: u64, count: u64) -> Value {
    let writes: Vec<Value> = (first..first + count)
        .map(|number| {
            json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": POSTS, "value": post(number) })
        })
        .collect();
    json!({ "repo": account.did, "writes": writes })
}
