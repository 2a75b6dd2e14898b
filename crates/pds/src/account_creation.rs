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
    plc_client::PlcClientError,
};

/// Name of the secret with the key that this server puts into the PLC operations of its accounts.
const ROTATION_KEY: &str = "plc-rotation";

/// Pause before interrupted creations are tried again. The directory's outages last minutes; a client that retries its
/// sign-up is told meanwhile that the handle is taken, so it should not be much longer.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Creations under way in this process, and the wish to look at interrupted ones.
#[derive(Debug, Default)]
pub(crate) struct Creations {
    under_way: Mutex<HashSet<Did>>,
    interrupted: Notify,
}

/// Keeps a creation from being taken up twice.
struct Claim<'a> {
    creations: &'a Creations,
    did: Did,
}

impl Creations {
    fn claim(&self, did: &Did) -> Option<Claim<'_>> {
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
    /// The identity brought along; its account begins deactivated.
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
        app.creations.interrupted.notify_one();
    }
    result
}

/// Makes the first PLC operation of a new identity.
async fn genesis(
    app: &App,
    request: &Request,
    signing_key: &SigningKey,
) -> Result<(Did, Vec<u8>), XrpcError> {
    let rotation_key = rotation_key(app).await?;
    let mut rotation_keys: Vec<PublicKey> = request.recovery_key.iter().cloned().collect();
    rotation_keys.push(rotation_key.public_key());
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

/// The key with which this server signs PLC operations; made when it is first needed.
async fn rotation_key(app: &App) -> Result<SigningKey, XrpcError> {
    let bytes = zeroize::Zeroizing::new(app.store.secret(ROTATION_KEY, Some(new_key_bytes)).await?);
    SigningKey::from_bytes(&bytes).map_err(XrpcError::internal)
}

/// Bytes of a new key. An empty answer, when the system gives no random numbers, is refused by whoever reads it.
fn new_key_bytes() -> Vec<u8> {
    SigningKey::generate().map(|key| key.to_bytes().to_vec()).unwrap_or_default()
}

/// Whether an identity's operation may have been sent before, perhaps before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    First,
    Again,
}

/// Registers the identity, if it is new, and turns the intent into an account.
async fn complete(app: &App, intent: &Intent, sending: Sending) -> Result<Account, XrpcError> {
    if let Some(operation) = &intent.plc_operation {
        register(app, intent, operation, sending).await?;
    }
    // Who brings an identity along switches the account on when all of it has arrived.
    let status = if intent.plc_operation.is_some() { Status::Active } else { Status::Deactivated };
    Ok(app.store.complete_account(&intent.did, status).await?)
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
        let left = match app.store.intents().await {
            Ok(intents) => resume_all(&app, &intents).await,
            Err(StoreError::Closed) => return,
            Err(e) => {
                tracing::error!("interrupted sign-ups cannot be read: {}", crate::store_error::chain(&e));
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
async fn resume_all(app: &App, intents: &[Intent]) -> bool {
    let mut left = false;
    for intent in intents {
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
    left
}
