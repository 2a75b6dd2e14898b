//! Calls as the operator.

use pds::config::Secret;
use serde_json::{Value, json};

use crate::harness::{Account, Answer, Pds};

pub(crate) const PASSWORD: &str = "correct:horse";

/// A server whose operator has a password.
pub(crate) async fn start() -> Pds {
    start_with(|_| {}).await
}

pub(crate) async fn start_with(change: impl FnOnce(&mut pds::Config)) -> Pds {
    let set = |config: &mut pds::Config| {
        config.admin_password = Some(Secret::new(PASSWORD.to_owned()));
        change(config);
    };
    Pds::start_with(set).await
}

pub(crate) async fn post_with(pds: &Pds, password: &str, method: &str, body: &Value) -> Answer {
    let request = pds.http.post(format!("{}/xrpc/{method}", pds.url)).basic_auth("admin", Some(password));
    Pds::read(request.json(body).send().await.unwrap()).await
}

pub(crate) async fn post(pds: &Pds, method: &str, body: &Value) -> Answer {
    post_with(pds, PASSWORD, method, body).await
}

pub(crate) async fn get(pds: &Pds, method: &str, params: &[(&str, &str)]) -> Answer {
    let url = reqwest::Url::parse_with_params(&format!("{}/xrpc/{method}", pds.url), params).unwrap();
    let request = pds.http.get(url).basic_auth("admin", Some(PASSWORD));
    Pds::read(request.send().await.unwrap()).await
}

pub(crate) fn account(did: &str) -> Value {
    json!({ "$type": "com.atproto.admin.defs#repoRef", "did": did })
}

pub(crate) fn blob(did: &str, cid: &str) -> Value {
    json!({ "$type": "com.atproto.admin.defs#repoBlobRef", "did": did, "cid": cid })
}

pub(crate) fn record(uri: &str, cid: &str) -> Value {
    json!({ "$type": "com.atproto.repo.strongRef", "uri": uri, "cid": cid })
}

/// Takes something down under a reference, or restores it.
pub(crate) async fn take_down(pds: &Pds, subject: &Value, reference: Option<&str>) -> Value {
    let takedown = match reference {
        Some(reference) => json!({ "applied": true, "ref": reference }),
        None => json!({ "applied": false }),
    };
    let body = json!({ "subject": subject, "takedown": takedown });
    post(pds, "com.atproto.admin.updateSubjectStatus", &body).await.ok()
}

pub(crate) async fn take_account_down(pds: &Pds, account: &Account, reference: Option<&str>) {
    take_down(pds, &self::account(&account.did), reference).await;
}
