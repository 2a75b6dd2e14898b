//! Checks every answer of this server against the published lexicons: body, media type and error name.
//!
//! The harness calls [`check`] for each answer that it reads, so that no test can miss it. Methods of other namespaces
//! than `com.atproto` are checked only where this server answers them itself: what comes from elsewhere is the other
//! server's, and the tests' own.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use atproto::{
    cbor::{self, Value},
    data::json_to_cbor,
    lexicon::{Body, Definition, Fault, Lexicon, Lexicons, Method},
};
use reqwest::{StatusCode, header::HeaderMap};

/// What a lexicon does not say: error names that every method may answer.
const GENERIC: &[(&str, &str)] = &[
    ("InvalidRequest", "XRPC: the call breaks the lexicon or cannot be done"),
    ("MethodNotImplemented", "XRPC: 501"),
    ("InternalServerError", "XRPC: 500"),
    ("PayloadTooLarge", "XRPC: 413"),
    ("PayloadTooLargeError", "the reference: 413 for a JSON body"),
    ("SyntaxError", "the reference: the body is no JSON"),
    ("RateLimitExceeded", "XRPC: 429"),
    ("UpstreamFailure", "XRPC: 502"),
    ("UpstreamTimeout", "XRPC: 504"),
    ("RequestTimeout", "HTTP: 408, the body stopped coming"),
    ("AuthMissing", "the reference's name for no Authorization at all"),
    ("AuthenticationRequired", "XRPC: 401, the credentials do not fit"),
    ("InvalidToken", "the reference's name for a token that is malformed or of the wrong kind"),
    ("ExpiredToken", "the reference's name for a token that is too old; clients refresh on it"),
    ("Forbidden", "XRPC: 403"),
    ("AccountNotFound", "the reference: the token's account is no more"),
    ("AccountTakedown", "the reference: the caller's account is taken down"),
    ("AccountDeactivated", "the reference: the caller's account is switched off"),
    // A service token that does not fit: the names of the reference's verifier.
    ("BadJwt", "the reference's verifier of service tokens"),
    ("BadJwtAudience", "the reference's verifier of service tokens"),
    ("BadJwtLexiconMethod", "the reference's verifier of service tokens"),
    ("BadJwtSignature", "the reference's verifier of service tokens"),
    ("BadJwtType", "the reference's verifier of service tokens"),
    ("BadJwtIss", "the reference's verifier of service tokens"),
    ("JwtExpired", "the reference's verifier of service tokens"),
    ("UntrustedIss", "the reference's verifier of service tokens"),
    // Our own, each with Retry-After or words that say what to do; docs/xrpc.md lists them.
    ("ClockUntrusted", "ours: nothing is signed or checked without trusted time"),
    ("RevAhead", "ours: the last revision lies in the future"),
    ("RepoNeedsRepair", "ours: the last revision lies far in the future"),
    ("DiskFull", "ours: new data is refused early"),
    ("ServerBusy", "ours: too much of one kind is under way"),
    ("ShuttingDown", "ours: the server is about to end"),
    ("TooManySubscribers", "ours: the firehose has as many readers as it can serve"),
    ("UpgradeRequired", "HTTP: 426, a subscription was called without a WebSocket"),
];

/// Error names that the reference answers although the method's lexicon does not declare them.
const UNDECLARED: &[(&str, &[&str], &str)] = &[
    (
        "com.atproto.repo.",
        &["BlobNotFound", "InvalidMimeType", "InvalidSize", "BlobTooLarge"],
        "a record's blob is missing or other than it says",
    ),
    ("com.atproto.repo.getRecord", &["RecordNotFound"], "no such record"),
    (
        "com.atproto.identity.updateHandle",
        &["InvalidHandle", "HandleNotAvailable"],
        "the handle breaks the rules or is another's",
    ),
    (
        "com.atproto.sync.",
        &["RepoNotFound", "RepoTakendown", "RepoSuspended", "RepoDeactivated"],
        "the repo is not here or hidden",
    ),
    (
        "com.atproto.repo.describeRepo",
        &["RepoNotFound", "RepoTakendown", "RepoSuspended", "RepoDeactivated"],
        "the repo is not here or hidden",
    ),
    (
        "com.atproto.admin.updateAccountHandle",
        &["InvalidHandle", "HandleNotAvailable"],
        "the handle breaks the rules or is another's",
    ),
    ("com.atproto.admin.", &["NotFound"], "the account or subject is not here"),
];

/// Methods of other namespaces that this server answers itself, at least in part.
const OWN: &[&str] = &[
    "app.bsky.actor.getPreferences",
    "app.bsky.actor.putPreferences",
    "app.bsky.actor.getProfile",
    "app.bsky.actor.getProfiles",
    "app.bsky.feed.getTimeline",
    "app.bsky.feed.getAuthorFeed",
    "app.bsky.feed.getActorLikes",
    "app.bsky.feed.getPostThread",
    "app.bsky.notification.registerPush",
    "app.bsky.notification.unregisterPush",
    "app.bsky.ageassurance.getState",
];

static PUBLISHED: LazyLock<Option<Lexicons>> = LazyLock::new(|| {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("PERCH_SHARED").map_or_else(beside, PathBuf::from);
    let mut all = Lexicons::default();
    read_folder(&shared.join("lexicons"), &mut all);
    if all.iter().next().is_none() {
        println!("shared/lexicons absent: answers are not checked against lexicons");
        return None;
    }
    Some(all)
});

fn read_folder(folder: &Path, into: &mut Lexicons) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "json") {
            let json = std::fs::read(&path).unwrap();
            into.insert(Arc::new(
                Lexicon::from_json(&json).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
            ));
        }
    }
}

/// Panics when an answer is not what the method's lexicon promises. `path` is the call's, without its query.
pub(crate) fn check(path: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let Some(nsid) = path.strip_prefix("/xrpc/").filter(|nsid| nsid.split('.').count() > 2) else { return };
    // A preflight is answered by the CORS layer.
    if headers.contains_key("access-control-allow-methods") {
        return;
    }
    let Some(lexicons) = &*PUBLISHED else { return };
    let method = lexicons.get(nsid).and_then(Lexicon::method);
    if !status.is_success() {
        return check_error(nsid, method, status, headers, body);
    }
    let Some(method) = method.filter(|_| nsid.starts_with("com.atproto.") || OWN.contains(&nsid)) else {
        return;
    };
    let fits = match &method.output {
        Some(output) => check_output(lexicons, output, headers, body),
        None if body.is_empty() => Ok(()),
        None => Err("the lexicon has no output, but a body came".to_owned()),
    };
    if let Err(why) = fits {
        panic!("{nsid} answers {status} not by its lexicon: {why}\n{}", String::from_utf8_lossy(body));
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

fn check_output(lexicons: &Lexicons, output: &Body, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let found = media_type(headers);
    if *output.encoding != *"*/*" && *output.encoding != *found {
        return Err(format!("its media type is {found:?}, not {}", output.encoding));
    }
    let Some(schema) = &output.schema else { return Ok(()) };
    let data = json_to_cbor(body).map_err(|e| e.to_string())?;
    lexicons.check(schema, &data).map_err(|fault| match fault {
        Fault::Mismatch(mismatch) => mismatch.to_string().replacen("Record", "output", 1),
        other => other.to_string(),
    })
}

fn check_error(nsid: &str, method: Option<&Method>, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let complain = |why: &str| -> ! {
        panic!("{nsid} fails with {status} not by its lexicon: {why}\n{}", String::from_utf8_lossy(body))
    };
    if media_type(headers) != "application/json" {
        complain("its media type is not application/json");
    }
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else { complain("not JSON") };
    let Some(name) = json["error"].as_str() else { complain("it has no error name") };
    if json.get("message").is_some_and(|message| !message.is_string()) {
        complain("its message is no text");
    }
    let declared = method.is_some_and(|method| method.errors.iter().any(|error| **error == *name));
    let generic = GENERIC.iter().any(|(generic, _)| *generic == name);
    let undeclared =
        UNDECLARED.iter().any(|(methods, names, _)| nsid.starts_with(methods) && names.contains(&name));
    // Without a lexicon the method is another server's: any name may come.
    if method.is_some() && !declared && !generic && !undeclared {
        complain(&format!("the error name {name} is neither declared nor among the generic ones"));
    }
}

/// Panics when a message of `com.atproto.sync.subscribeRepos` is not what the lexicon promises.
pub(crate) fn check_message(frame: &[u8]) {
    let Some(lexicons) = &*PUBLISHED else { return };
    let lexicon = lexicons.get("com.atproto.sync.subscribeRepos").expect("the firehose has a lexicon");
    let (header, body) = cbor::decode_prefix(frame).expect("a header");
    let header = header.as_map().expect("an object");
    match header.get("op").and_then(Value::as_int) {
        Some(1) => {
            let kind = header.get("t").and_then(Value::as_text).expect("a type");
            let name = kind.strip_prefix('#').expect("a name of this lexicon");
            let Some(Definition::Type(schema)) = lexicon.definition(name) else {
                panic!("{kind} is no message of the firehose");
            };
            lexicons
                .check(schema, body)
                .unwrap_or_else(|fault| panic!("{kind} is not by its lexicon: {fault}"));
        }
        Some(-1) => {
            let body = cbor::decode(body).expect("an error");
            let name =
                body.as_map().and_then(|map| map.get("error")).and_then(Value::as_text).expect("a name");
            let declared = lexicon.method().is_some_and(|m| m.errors.iter().any(|error| **error == *name));
            assert!(declared, "{name} is no error of the firehose");
        }
        op => panic!("{op:?} is no kind of message"),
    }
}

#[test]
fn notices_answers_that_break_their_lexicon() {
    if PUBLISHED.is_none() {
        return;
    }
    let call = |nsid: &'static str, status: u16, kind: &'static str, body: &'static str| {
        std::panic::catch_unwind(move || {
            let headers = HeaderMap::from_iter([(reqwest::header::CONTENT_TYPE, kind.parse().unwrap())]);
            check(&format!("/xrpc/{nsid}"), status.try_into().unwrap(), &headers, body.as_bytes());
        })
        .is_ok()
    };
    let json = "application/json; charset=utf-8";
    let resolve = "com.atproto.identity.resolveHandle";
    assert!(call(resolve, 200, json, r#"{"did":"did:plc:ewvi7nxzyoun6zhxrhs64oiz"}"#));
    assert!(!call(resolve, 200, json, r#"{"did":"alice"}"#));
    assert!(!call(resolve, 200, json, "{}"));
    assert!(!call(resolve, 200, "text/plain", r#"{"did":"did:plc:ewvi7nxzyoun6zhxrhs64oiz"}"#));
    assert!(call(resolve, 400, json, r#"{"error":"HandleNotFound","message":"x"}"#));
    assert!(!call(resolve, 400, json, r#"{"error":"HandleLost","message":"x"}"#));
    assert!(!call(resolve, 400, json, r#"{"message":"x"}"#));
    assert!(!call("com.atproto.server.deleteSession", 200, json, "{}"), "it has no output");
    assert!(call("com.example.thing.method", 200, "text/plain", "anything"));
}
