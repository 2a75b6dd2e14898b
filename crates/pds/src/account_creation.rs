//! Makes accounts so that a stop at any moment leaves nothing half: the signing key and the signed PLC operation are
//! durable before the operation is sent, and only a registered identity becomes an account. What a stop interrupts,
//! the next start goes on with, sending the same bytes.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use atproto::{
    crypto::{PublicKey, SigningKey},
    plc,
    syntax::{Did, Handle},
};
use store::{Account, Intent, NewAccount, Status, StoreError};
use tokio::sync::Notify;

use crate::{
    app::{App, Shared},
    error::XrpcError,
    identity_change,
    plc_client::PlcClientError,
    rotation_key,
};

/// Pause before interrupted creations are tried again. The directory's outages last minutes; a client that retries its
/// sign-up is told meanwhile that the handle is taken, so it should not be much longer.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Creations and changes under way in this process, by DID, and the wish to look at interrupted ones.
#[derive(Debug, Default)]
pub(crate) struct Creations {
    under_way: Mutex<HashSet<Did>>,
    interrupted: Notify,
}

/// Keeps a creation or change from being taken up twice.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    creations: &'a Creations,
    did: Did,
}

impl Creations {
    /// Lets the worker look soon at what is left.
    pub(crate) fn look_again(&self) {
        self.interrupted.notify_one();
    }

    /// Takes a DID up, unless it is being worked on.
    pub(crate) fn claim(&self, did: &Did) -> Option<Claim<'_>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(did.clone()).then(|| Claim { creations: self, did: did.clone() })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.creations.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.did);
    }
}

/// What a sign-up asks for, checked.
#[derive(Debug)]
pub(crate) struct Request {
    /// The handle.
    pub(crate) handle: Handle,
    /// The e-mail address.
    pub(crate) email: Option<String>,
    /// PHC string of the password.
    pub(crate) password_hash: String,
    /// A key of the owner's that stands before the server's.
    pub(crate) recovery_key: Option<PublicKey>,
    /// The identity brought along, whose account begins deactivated; or one of this server's own `did:web`.
    pub(crate) did: Option<Did>,
    /// The invite code that it uses.
    pub(crate) invite: Option<String>,
}

/// Makes an account. Runs to its end even when the caller goes away.
///
/// # Errors
/// The store's refusals of names; 400 with the directory's reason; 502 when it does not answer.
pub(crate) async fn create(app: &Shared, request: Request) -> Result<Account, XrpcError> {
    let task = app.tasks.spawn({
        let app = Shared::clone(app);
        async move { run(&app, request).await }
    });
    task.await.map_err(XrpcError::internal)?
}

async fn run(app: &App, request: Request) -> Result<Account, XrpcError> {
    let signing_key = SigningKey::generate().map_err(XrpcError::internal)?;
    let (did, plc_operation) = match request.did {
        Some(did) => (did, None),
        None => {
            let (did, operation) = genesis(app, &request, &signing_key).await?;
            (did, Some(operation))
        }
    };
    let claim =
        app.creations.claim(&did).ok_or_else(|| XrpcError::invalid_request("Account already exists"))?;
    let new = NewAccount {
        did,
        handle: request.handle,
        email: request.email,
        password_hash: request.password_hash,
        signing_key,
        plc_operation,
        invite: request.invite,
    };
    let intent = app.store.begin_account(new).await?;
    let result = complete(app, &intent, Sending::First).await;
    drop(claim);
    if result.is_err() {
        // Given up or to be tried again: the worker looks at what the store still has.
        app.creations.look_again();
    }
    result
}

/// Makes the first PLC operation of a new identity.
async fn genesis(
    app: &App,
    request: &Request,
    signing_key: &SigningKey,
) -> Result<(Did, Vec<u8>), XrpcError> {
    let rotation_key = rotation_key::current(app).await?;
    // The first may undo what the later ones did: the account's owner, the server's owner, the server.
    let mut rotation_keys: Vec<PublicKey> = Vec::new();
    for key in request.recovery_key.iter().chain(&app.config.recovery_key).chain([&rotation_key.public_key()])
    {
        if !rotation_keys.contains(key) {
            rotation_keys.push(*key);
        }
    }
    let now = app.now()?;
    let (did, operation) = plc::genesis(
        &rotation_keys,
        &signing_key.public_key(),
        &request.handle,
        &app.config.public_url,
        &rotation_key,
        now,
    );
    operation.check_limits().map_err(|e| XrpcError::invalid_request(e.to_string()))?;
    Ok((did, operation.to_json()))
}

/// Gives up the creation of an identity of this server's own that had an account before: who followed the former owner
/// must not follow a stranger.
async fn refuse_ended(app: &App, did: &Did) -> Result<(), XrpcError> {
    let wanted = did.clone();
    if !app.identity.gives_out(did) || !app.store.read(move |r| r.web_has_ended(&wanted)).await? {
        return Ok(());
    }
    app.store.abandon_account(did).await?;
    Err(XrpcError::bad("HandleNotAvailable", "This did:web belonged to an account that was deleted"))
}

/// Whether an identity's operation may have been sent before, perhaps before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Surely not.
    First,
    /// Perhaps.
    Again,
}

/// Registers the identity, if it is new, and turns the intent into an account.
async fn complete(app: &App, intent: &Intent, sending: Sending) -> Result<Account, XrpcError> {
    refuse_ended(app, &intent.did).await?;
    if let Some(operation) = &intent.plc_operation {
        register(app, intent, operation, sending).await?;
    }
    // Who brings an identity along switches the account on when all of it has arrived.
    let is_new = intent.plc_operation.is_some() || app.identity.gives_out(&intent.did);
    let status = if is_new { Status::Active } else { Status::Deactivated };
    let account = app.store.complete_account(&intent.did, status).await?;
    app.identity.forget(&intent.did);
    Ok(account)
}

async fn register(app: &App, intent: &Intent, operation: &[u8], sending: Sending) -> Result<(), XrpcError> {
    let Err(err) = app.plc.submit_json(&intent.did, operation).await else { return Ok(()) };
    let surely_unknown = sending == Sending::First && err.was_never_sent();
    if err.is_temporary() && !surely_unknown {
        // Perhaps the directory has it: the same bytes are sent again, so that the identity is not lost.
        return Err(unreachable(&err));
    }
    app.store.abandon_account(&intent.did).await?;
    Err(match err {
        PlcClientError::Refused { status, message } => {
            XrpcError::invalid_request(format!("The PLC directory refused the new identity: {message}"))
                .because(format!("status {status}"))
        }
        err => unreachable(&err),
    })
}

fn unreachable(err: &PlcClientError) -> XrpcError {
    XrpcError::upstream(
        "The PLC directory, where new identities are registered, does not answer",
        crate::store_error::chain(err),
    )
}

/// Goes on with what a stop or an outage interrupted, until the end.
pub(crate) async fn resume(app: Shared) {
    loop {
        let left = match resume_all(&app).await {
            Ok(left) => left,
            Err(StoreError::Closed) => return,
            Err(e) => {
                tracing::error!("what was interrupted cannot be read: {}", crate::store_error::chain(&e));
                true
            }
        };
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY_PAUSE), if left => {}
            () = app.creations.interrupted.notified(), if !left => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// Returns whether anything is left to be tried again.
async fn resume_all(app: &App) -> Result<bool, StoreError> {
    let mut left = false;
    for change in app.store.identity_changes().await? {
        let did = change.did.as_str();
        let Some(_claim) = app.creations.claim(&change.did) else { continue };
        match identity_change::finish(app, &change, Sending::Again).await {
            Ok(()) => tracing::info!(did, "an interrupted change of an identity was completed"),
            Err(e) => {
                left |= e.status().is_server_error();
                tracing::warn!(did, "an interrupted change of an identity could not be completed: {e}");
            }
        }
    }
    for intent in &app.store.intents().await? {
        let Some(_claim) = app.creations.claim(&intent.did) else { continue };
        match complete(app, intent, Sending::Again).await {
            Ok(account) => tracing::info!(did = account.did.as_str(), "an interrupted sign-up was completed"),
            Err(e) => {
                left |= e.status().is_server_error();
                tracing::warn!(
                    did = intent.did.as_str(),
                    "an interrupted sign-up could not be completed: {e}"
                );
            }
        }
    }
    Ok(left)
}
