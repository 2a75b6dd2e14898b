//! `com.atproto.admin.updateSubjectStatus`: hides an account, a record or a blob, or shows it again; switches an account
//! off or on in its owner's place.

use axum::{extract::State, response::Response};
use platform::time::TrustedTime;
use serde::{Deserialize, Serialize};
use store::{Announcement, Hold, HoldKind, Status};

use super::{
    super::shared::json,
    subject::{StatusAttr, Subject, Target, account, refused},
};
use crate::{
    app::{App, Shared},
    auth::admin::AdminOrModerator,
    documents,
    error::XrpcError,
    input::Json,
};

/// How references of decisions for a time begin, in capitals: the second is how Ozone writes them.
const SUSPENSIONS: [&str; 2] = ["SUSPEND", "BSKY-SUSPEND"];

/// Longest reference, bytes: it is kept with the subject for ever, and Ozone's have some 30.
const REFERENCE_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
struct Input {
    subject: Subject,
    #[serde(default)]
    takedown: Option<StatusAttr>,
    #[serde(default)]
    deactivated: Option<StatusAttr>,
}

#[derive(Serialize)]
struct Output {
    subject: Subject,
    #[serde(skip_serializing_if = "Option::is_none")]
    takedown: Option<StatusAttr>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _caller: AdminOrModerator,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let target = input.subject.target()?;
    let hides = input.takedown.as_ref().is_some_and(|t| t.applied);
    if hides && input.deactivated.as_ref().is_some_and(|d| !d.applied) {
        return Err(XrpcError::invalid_request("Cannot activate and takedown an account at the same time"));
    }
    if let Some(takedown) = &input.takedown {
        take_down(&app, &target, takedown, app.now()?).await?;
        tracing::info!(subject = ?target, applied = takedown.applied, "the operator changed a takedown");
    }
    if let Target::Repo(did) = &target {
        match &input.deactivated {
            Some(StatusAttr { applied: true, .. }) => {
                app.store.set_status(did, Status::Deactivated).await.map_err(refused)?;
            }
            Some(StatusAttr { applied: false, .. }) => {
                let account = account(&app, did).await?;
                if account.hold.is_some() {
                    return Err(XrpcError::invalid_request("The account is taken down"));
                }
                documents::require_here(&app, &account).await?;
                app.store.set_status(did, Status::Active).await.map_err(refused)?;
            }
            None if input.takedown.is_none() => {
                // As the reference: a call that changes nothing says the present state once more.
                app.store.announce(did, vec![Announcement::Account]).await.map_err(refused)?;
            }
            None => {}
        }
    }
    Ok(json(&Output { subject: input.subject, takedown: input.takedown }))
}

async fn take_down(
    app: &App,
    target: &Target,
    takedown: &StatusAttr,
    now: TrustedTime,
) -> Result<(), XrpcError> {
    let reference = takedown.applied.then(|| match takedown.reference.as_deref() {
        Some(text) if !text.is_empty() => text.to_owned(),
        // Something must be kept that says that it is applied: the time says most.
        _ => now.to_rfc3339(),
    });
    if reference.as_ref().is_some_and(|text| text.len() > REFERENCE_BYTES_MAX) {
        return Err(XrpcError::invalid_request(format!("ref: longer than {REFERENCE_BYTES_MAX} bytes")));
    }
    let done = match target {
        Target::Repo(did) => {
            let hold = reference.map(|reference| Hold { kind: kind_of(&reference), reference });
            app.store.set_hold(did, hold).await.map(drop)
        }
        Target::Record(did, collection, rkey) => {
            app.store.set_record_hold(did, collection, rkey, reference).await
        }
        Target::Blob(did, cid) => app.store.set_blob_hold(did, cid, reference).await,
    };
    done.map_err(refused)
}

fn kind_of(reference: &str) -> HoldKind {
    let begins =
        |prefix: &&str| reference.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if SUSPENSIONS.iter().any(begins) { HoldKind::Suspension } else { HoldKind::Takedown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_tells_a_suspension_from_a_takedown() {
        for (reference, kind) in [
            ("BSKY-SUSPEND-1234", HoldKind::Suspension),
            ("suspended for a week", HoldKind::Suspension),
            ("BSKY-TAKEDOWN-1234", HoldKind::Takedown),
            ("not SUSPEND", HoldKind::Takedown),
            ("", HoldKind::Takedown),
            ("SUSPEN\u{301}D", HoldKind::Takedown),
        ] {
            assert_eq!(kind_of(reference), kind, "{reference}");
        }
    }
}
