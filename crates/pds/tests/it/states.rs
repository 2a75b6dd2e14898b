//! Every method against every state of an account: one table says what is answered.
//!
//! A session that is older than a takedown still has its access token, a session opened to a hidden account has one of
//! little worth, and tokens outlive their account. Each cell is one real call.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    harness::{Account, Answer, Pds, post, rkey_of},
    operator,
};

/// The states, in the table's order.
const STATES: [&str; 5] = ["active", "deactivated", "takendown", "suspended", "deleted"];

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Without any authorization.
    Anyone,
    /// With the access token of a session that is older than the state.
    Owner,
    /// With a token from `createSession` with `allowTakendown`; where there is none, the cell is `-`.
    Visitor,
    /// With the refresh token of a session that is older than the state.
    Refresh,
    /// With the operator's password.
    Operator,
}
use Who::{Anyone, Operator, Owner, Refresh, Visitor};

/// What a cell says of a call that succeeds.
const OK: &str = "ok";
/// And of one that cannot be made.
const NONE: &str = "-";

const DEACTIVATED: &str = "400 RepoDeactivated";
const TAKENDOWN: &str = "400 RepoTakendown";
const SUSPENDED: &str = "400 RepoSuspended";
const NOT_FOUND: &str = "400 RepoNotFound";
const INVALID: &str = "400 InvalidRequest";
const HIDDEN: &str = "401 AccountTakedown";
const OFF: &str = "401 AccountDeactivated";
const GONE: &str = "403 AccountNotFound";
const WRONG: &str = "401 AuthenticationRequired";
const SCOPE: &str = "400 InvalidToken";

/// Public data of a repo.
const PUBLIC: [&str; 5] = [OK, DEACTIVATED, TAKENDOWN, SUSPENDED, NOT_FOUND];
/// The same for those who see hidden repos.
const SEES_ALL: [&str; 5] = [OK, OK, OK, OK, NOT_FOUND];
/// The same for who signed in to a hidden account: there is no such session elsewhere.
const VISITS: [&str; 5] = [NONE, NONE, OK, OK, NONE];
const VISITS_NOT: [&str; 5] = [NONE, NONE, SCOPE, SCOPE, NONE];
/// Writes of records.
const WRITES: [&str; 5] = [OK, OFF, HIDDEN, HIDDEN, GONE];
/// What an owner may also do to an account that is switched off.
const OWNS: [&str; 5] = [OK, OK, HIDDEN, HIDDEN, GONE];
/// What an owner may also do to a hidden account, with an older session.
const OWNS_HIDDEN: [&str; 5] = [OK, OK, OK, OK, GONE];

/// Calls that leave the account as it is: method, and query or body.
const CALLS: &[(Who, &str, &str, [&str; 5])] = &[
    // Mirrors and relays.
    (Anyone, "com.atproto.sync.getRepo", "did={did}", PUBLIC),
    (Anyone, "com.atproto.sync.getCheckout", "did={did}", PUBLIC),
    (Anyone, "com.atproto.sync.getRecord", "did={did}&collection=app.bsky.feed.post&rkey={rkey}", PUBLIC),
    (Anyone, "com.atproto.sync.getBlocks", "did={did}&cids={record}", PUBLIC),
    (Anyone, "com.atproto.sync.getLatestCommit", "did={did}", PUBLIC),
    (
        Anyone,
        "com.atproto.sync.getHead",
        "did={did}",
        [OK, DEACTIVATED, TAKENDOWN, SUSPENDED, "400 RepoNotFound"],
    ),
    (Anyone, "com.atproto.sync.listBlobs", "did={did}", PUBLIC),
    (Anyone, "com.atproto.sync.getBlob", "did={did}&cid={blob}", PUBLIC),
    (Anyone, "com.atproto.sync.getRepoStatus", "did={did}", [OK, OK, OK, OK, NOT_FOUND]),
    (Operator, "com.atproto.sync.getRepo", "did={did}", SEES_ALL),
    (Operator, "com.atproto.sync.getCheckout", "did={did}", SEES_ALL),
    (Operator, "com.atproto.sync.getRecord", "did={did}&collection=app.bsky.feed.post&rkey={rkey}", SEES_ALL),
    (Operator, "com.atproto.sync.getBlocks", "did={did}&cids={record}", SEES_ALL),
    (Operator, "com.atproto.sync.getLatestCommit", "did={did}", SEES_ALL),
    (Operator, "com.atproto.sync.getHead", "did={did}", [OK, OK, OK, OK, "400 RepoNotFound"]),
    (Operator, "com.atproto.sync.listBlobs", "did={did}", SEES_ALL),
    (Operator, "com.atproto.sync.getBlob", "did={did}&cid={blob}", SEES_ALL),
    (Owner, "com.atproto.sync.getRepo", "did={did}", SEES_ALL),
    (Owner, "com.atproto.sync.getBlob", "did={did}&cid={blob}", SEES_ALL),
    (Owner, "com.atproto.sync.getLatestCommit", "did={did}", SEES_ALL),
    (Visitor, "com.atproto.sync.getRepo", "did={did}", VISITS),
    (Visitor, "com.atproto.sync.getBlob", "did={did}&cid={blob}", VISITS),
    (Visitor, "com.atproto.sync.listBlobs", "did={did}", VISITS),
    // Readers of records.
    (Anyone, "com.atproto.repo.describeRepo", "repo={did}", PUBLIC),
    (
        Anyone,
        "com.atproto.repo.listRecords",
        "repo={did}&collection=app.bsky.feed.post",
        [OK, INVALID, INVALID, INVALID, INVALID],
    ),
    (
        Anyone,
        "com.atproto.repo.getRecord",
        "repo={did}&collection=app.bsky.feed.post&rkey={rkey}",
        [OK, "400 RecordNotFound", "400 RecordNotFound", "400 RecordNotFound", INVALID],
    ),
    (
        Anyone,
        "com.atproto.identity.resolveHandle",
        "handle={handle}",
        [OK, "400 HandleNotFound", "400 HandleNotFound", "400 HandleNotFound", "400 HandleNotFound"],
    ),
    // Writers of records and blobs.
    (
        Owner,
        "com.atproto.repo.createRecord",
        "{\"repo\":\"{did}\",\"collection\":\"app.bsky.feed.post\",\"record\":{post}}",
        WRITES,
    ),
    (
        Owner,
        "com.atproto.repo.putRecord",
        "{\"repo\":\"{did}\",\"collection\":\"app.bsky.feed.post\",\"rkey\":\"3mvfsmbk2zk2c\",\"record\":{post}}",
        WRITES,
    ),
    (
        Owner,
        "com.atproto.repo.deleteRecord",
        "{\"repo\":\"{did}\",\"collection\":\"app.bsky.feed.post\",\"rkey\":\"none\"}",
        WRITES,
    ),
    (Owner, "com.atproto.repo.applyWrites", "{\"repo\":\"{did}\",\"writes\":[]}", WRITES),
    (
        Visitor,
        "com.atproto.repo.createRecord",
        "{\"repo\":\"{did}\",\"collection\":\"app.bsky.feed.post\",\"record\":{post}}",
        VISITS_NOT,
    ),
    (Owner, "com.atproto.repo.uploadBlob", "text:bytes", OWNS),
    (Visitor, "com.atproto.repo.uploadBlob", "text:bytes", VISITS_NOT),
    (Owner, "com.atproto.repo.importRepo", "car:nonsense", [INVALID, INVALID, HIDDEN, HIDDEN, GONE]),
    (Visitor, "com.atproto.repo.importRepo", "car:nonsense", VISITS_NOT),
    (Owner, "com.atproto.repo.listMissingBlobs", "", OWNS_HIDDEN),
    // Sessions.
    (
        Anyone,
        "com.atproto.server.createSession",
        "{\"identifier\":\"{did}\",\"password\":\"hunter22\"}",
        [OK, OK, HIDDEN, HIDDEN, WRONG],
    ),
    (
        Anyone,
        "com.atproto.server.createSession",
        "{\"identifier\":\"{did}\",\"password\":\"hunter22\",\"allowTakendown\":true}",
        [OK, OK, OK, OK, WRONG],
    ),
    (
        Anyone,
        "com.atproto.server.createSession",
        "{\"identifier\":\"{did}\",\"password\":\"wrong\"}",
        [WRONG, WRONG, WRONG, WRONG, WRONG],
    ),
    (
        Anyone,
        "com.atproto.server.createSession",
        "{\"identifier\":\"{handle}\",\"password\":\"hunter22\"}",
        [OK, OK, HIDDEN, HIDDEN, WRONG],
    ),
    (Owner, "com.atproto.server.getSession", "", [OK, OK, INVALID, INVALID, INVALID]),
    (Visitor, "com.atproto.server.getSession", "", VISITS_NOT),
    (Refresh, "com.atproto.server.refreshSession", "call:", [OK, OK, HIDDEN, HIDDEN, INVALID]),
    (Owner, "com.atproto.server.createAppPassword", "{\"name\":\"app\"}", OWNS),
    (Visitor, "com.atproto.server.createAppPassword", "{\"name\":\"app\"}", VISITS_NOT),
    (Owner, "com.atproto.server.listAppPasswords", "", [OK, OK, OK, OK, OK]),
    (Owner, "com.atproto.server.revokeAppPassword", "{\"name\":\"app\"}", OWNS_HIDDEN),
    (Owner, "com.atproto.server.getAccountInviteCodes", "", OWNS),
    (Visitor, "com.atproto.server.getAccountInviteCodes", "", VISITS_NOT),
    (Owner, "com.atproto.server.requestEmailUpdate", "call:", OWNS),
    (Visitor, "com.atproto.server.requestEmailUpdate", "call:", VISITS_NOT),
    (Owner, "com.atproto.server.requestEmailConfirmation", "call:", OWNS),
    (Visitor, "com.atproto.server.requestEmailConfirmation", "call:", VISITS_NOT),
    (
        Owner,
        "com.atproto.server.confirmEmail",
        "{\"email\":\"nobody@example.org\",\"token\":\"AAAAA-AAAAA\"}",
        ["400 InvalidEmail", "400 InvalidEmail", HIDDEN, HIDDEN, GONE],
    ),
    (
        Visitor,
        "com.atproto.server.confirmEmail",
        "{\"email\":\"nobody@example.org\",\"token\":\"AAAAA-AAAAA\"}",
        VISITS_NOT,
    ),
    (Visitor, "com.atproto.server.updateEmail", "{\"email\":\"nobody@example.org\"}", VISITS_NOT),
    // The identity: who was hidden may take it elsewhere, as with the reference.
    (Owner, "com.atproto.identity.requestPlcOperationSignature", "call:", [OK, OK, OK, OK, INVALID]),
    (Visitor, "com.atproto.identity.requestPlcOperationSignature", "call:", VISITS),
    (Owner, "com.atproto.identity.signPlcOperation", "{\"token\":\"AAAAA-AAAAA\"}", [SCOPE; 5]),
    (
        Visitor,
        "com.atproto.identity.signPlcOperation",
        "{\"token\":\"AAAAA-AAAAA\"}",
        [NONE, NONE, SCOPE, SCOPE, NONE],
    ),
    (Owner, "com.atproto.identity.submitPlcOperation", "{\"operation\":{}}", [INVALID; 5]),
    (Visitor, "com.atproto.identity.submitPlcOperation", "{\"operation\":{}}", VISITS_NOT),
    (
        Anyone,
        "com.atproto.server.deleteAccount",
        "{\"did\":\"{did}\",\"password\":\"wrong\",\"token\":\"AAAAA-AAAAA\"}",
        [WRONG, WRONG, WRONG, WRONG, INVALID],
    ),
    (Owner, "com.atproto.server.checkAccountStatus", "", [OK, OK, OK, OK, INVALID]),
    (
        Owner,
        "com.atproto.server.getServiceAuth",
        "aud=did:web:a.example.com&lxm=app.bsky.feed.getTimeline",
        OWNS,
    ),
    (
        Owner,
        "com.atproto.server.getServiceAuth",
        "aud=did:web:a.example.com&lxm=com.atproto.server.createAccount",
        OWNS,
    ),
    (
        Visitor,
        "com.atproto.server.getServiceAuth",
        "aud=did:web:a.example.com&lxm=app.bsky.feed.getTimeline",
        VISITS_NOT,
    ),
    (
        Visitor,
        "com.atproto.server.getServiceAuth",
        "aud=did:web:a.example.com&lxm=com.atproto.server.createAccount",
        VISITS,
    ),
    // Settings.
    (Owner, "app.bsky.actor.getPreferences", "", OWNS_HIDDEN),
    (Owner, "app.bsky.actor.putPreferences", "{\"preferences\":[]}", OWNS),
    (Visitor, "app.bsky.actor.putPreferences", "{\"preferences\":[]}", VISITS_NOT),
    // The operator.
    (Operator, "com.atproto.admin.getAccountInfo", "did={did}", [OK, OK, OK, OK, "400 NotFound"]),
    (Operator, "com.atproto.admin.getSubjectStatus", "did={did}", [OK, OK, OK, OK, "400 NotFound"]),
    (
        Operator,
        "com.atproto.admin.getSubjectStatus",
        "uri=at://{did}/app.bsky.feed.post/{rkey}",
        [OK, OK, OK, OK, "400 NotFound"],
    ),
    (
        Operator,
        "com.atproto.admin.getSubjectStatus",
        "did={did}&blob={blob}",
        [OK, OK, OK, OK, "400 NotFound"],
    ),
    (
        Operator,
        "com.atproto.admin.updateAccountPassword",
        "{\"did\":\"{did}\",\"password\":\"hunter22\"}",
        [OK, OK, OK, OK, "400 NotFound"],
    ),
];

/// Calls that change the account: each cell has one of its own.
const CHANGES: &[(Who, &str, &str, [&str; 5])] = &[
    (Owner, "com.atproto.server.activateAccount", "call:", OWNS),
    (Owner, "com.atproto.server.deactivateAccount", "{}", OWNS_HIDDEN),
    (Visitor, "com.atproto.server.deactivateAccount", "{}", VISITS),
    (Owner, "com.atproto.identity.updateHandle", "{\"handle\":\"other-{state}.test\"}", OWNS),
    (Visitor, "com.atproto.identity.updateHandle", "{\"handle\":\"other-{state}.test\"}", VISITS_NOT),
    (Owner, "com.atproto.server.updateEmail", "{\"email\":\"new-{state}@example.org\"}", OWNS),
    (Visitor, "com.atproto.server.activateAccount", "call:", VISITS_NOT),
    (Refresh, "com.atproto.server.deleteSession", "call:", [OK, OK, OK, OK, OK]),
];

/// An account in one of the states, with what calls need.
struct Subject {
    account: Account,
    visitor: Option<String>,
    names: Vec<(&'static str, String)>,
}

impl Subject {
    async fn new(pds: &Pds, name: &str, state: &str) -> Self {
        let account = pds.account(name).await;
        let blob =
            call(pds, Some(&account.access), "com.atproto.repo.uploadBlob", "text:a picture").await.ok();
        let mut record = post("x");
        record["embed"] = json!({
            "$type": "com.example.embed", "picture": blob["blob"],
        });
        let body = json!({
            "repo": account.did, "collection": "app.bsky.feed.post", "record": record, "validate": false,
        });
        let written = pds.post(Some(&account.access), "com.atproto.repo.createRecord", &body).await.ok();
        let mut visitor = None;
        match state {
            "active" => {}
            "deactivated" => {
                let body = json!({});
                pds.post(Some(&account.access), "com.atproto.server.deactivateAccount", &body).await.ok();
            }
            "takendown" => operator::take_account_down(pds, &account, Some("case 7")).await,
            "suspended" => operator::take_account_down(pds, &account, Some("BSKY-SUSPEND-7")).await,
            "deleted" => {
                let body = json!({ "did": account.did });
                operator::post(pds, "com.atproto.admin.deleteAccount", &body).await.ok();
            }
            other => panic!("{other}"),
        }
        if matches!(state, "takendown" | "suspended") {
            let body = json!({ "identifier": account.did, "password": "hunter22", "allowTakendown": true });
            let session = pds.post(None, "com.atproto.server.createSession", &body).await.ok();
            visitor = Some(session["accessJwt"].as_str().unwrap().to_owned());
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names = vec![
            ("{did}", account.did.clone()),
            ("{handle}", account.handle.clone()),
            ("{rkey}", rkey_of(&written)),
            ("{record}", text(&written["cid"])),
            ("{blob}", text(&blob["blob"]["ref"]["$link"])),
            ("{post}", post("y").to_string()),
            ("{state}", state.get(..5).unwrap().to_owned()),
        ];
        Self { account, visitor, names }
    }

    async fn answer(&self, pds: &Pds, who: Who, method: &str, input: &str) -> String {
        let mut input = input.to_owned();
        for (name, value) in &self.names {
            input = input.replace(name, value);
        }
        let token = match who {
            Anyone => None,
            Owner => Some(&self.account.access),
            Refresh => Some(&self.account.refresh),
            Visitor => match &self.visitor {
                Some(token) => Some(token),
                None => return NONE.to_owned(),
            },
            Operator => return outcome(&call_as_operator(pds, method, &input).await),
        };
        outcome(&call(pds, token.map(String::as_str), method, &input).await)
    }
}

/// The input's form says how to call: a query, a JSON body, `kind:body`.
fn request(pds: &Pds, method: &str, input: &str) -> reqwest::RequestBuilder {
    let url = format!("{}/xrpc/{method}", pds.url);
    if input.starts_with('{') {
        let body: Value = serde_json::from_str(input).unwrap_or_else(|e| panic!("{e}: {input}"));
        return pds.http.post(url).json(&body);
    }
    match input.split_once(':') {
        Some(("call", "")) => pds.http.post(url),
        Some(("text", body)) => pds.http.post(url).header("content-type", "text/plain").body(body.to_owned()),
        Some(("car", body)) => {
            pds.http.post(url).header("content-type", "application/vnd.ipld.car").body(body.to_owned())
        }
        _ => pds.http.get(format!("{url}?{input}")),
    }
}

async fn call(pds: &Pds, token: Option<&str>, method: &str, input: &str) -> Answer {
    let mut request = request(pds, method, input);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    Pds::read(request.send().await.unwrap()).await
}

async fn call_as_operator(pds: &Pds, method: &str, input: &str) -> Answer {
    let request = request(pds, method, input).basic_auth("admin", Some(operator::PASSWORD));
    Pds::read(request.send().await.unwrap()).await
}

fn outcome(answer: &Answer) -> String {
    if answer.status.is_success() {
        return OK.to_owned();
    }
    let (status, name) = answer.error();
    format!("{status} {name}")
}

fn note_difference(all: &mut String, call: (Who, &str, &str), state: &str, expected: &str, found: &str) {
    if found != expected {
        let (who, method, input) = call;
        writeln!(all, "{who:?} {method} {input}\n    {state}: expected {expected}, found {found}").unwrap();
    }
}

#[tokio::test]
async fn every_method_answers_by_the_state_of_the_account() {
    let pds = operator::start().await;
    let mut differences = String::new();
    for (i, state) in STATES.into_iter().enumerate() {
        let subject = Subject::new(&pds, &format!("{state:.11}-a"), state).await;
        for (who, method, input, expected) in CALLS {
            let found = subject.answer(&pds, *who, method, input).await;
            note_difference(&mut differences, (*who, method, input), state, expected[i], &found);
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[tokio::test]
async fn every_change_is_answered_by_the_state_of_the_account() {
    let pds = operator::start().await;
    let mut differences = String::new();
    for (row, (who, method, input, expected)) in CHANGES.iter().enumerate() {
        for (i, state) in STATES.into_iter().enumerate() {
            let subject = Subject::new(&pds, &format!("{state}-{row}"), state).await;
            let found = subject.answer(&pds, *who, method, input).await;
            note_difference(&mut differences, (*who, method, input), state, expected[i], &found);
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[tokio::test]
async fn lists_of_repos_name_the_state_and_well_known_the_active_only() {
    let pds = operator::start().await;
    for state in STATES {
        let subject = Subject::new(&pds, &format!("{state:.11}-b"), state).await;
        let listed = pds.get("com.atproto.sync.listRepos", &[]).await.ok();
        let mut repos = listed["repos"].as_array().unwrap().iter();
        let repo = repos.find(|repo| repo["did"] == subject.account.did.as_str());
        let well_known = pds.http.get(format!("{}/.well-known/atproto-did", pds.url));
        let answer = well_known.header("host", &subject.account.handle).send().await.unwrap();
        assert_eq!(answer.status().is_success(), state == "active", "{state}");
        let Some(repo) = repo else {
            assert_eq!(state, "deleted");
            continue;
        };
        assert_eq!(repo["active"], state == "active");
        let named = if state == "active" { Value::Null } else { json!(state) };
        assert_eq!(repo["status"], named);
        let status = pds.get("com.atproto.sync.getRepoStatus", &[("did", &subject.account.did)]).await.ok();
        assert_eq!((&status["active"], &status["status"]), (&repo["active"], &named));
        assert_eq!(status["rev"].is_string(), state == "active");
    }
}
