//! Changes what the network knows of an account that exists: its handle, its PLC operation.
//!
//! The directory comes first, the store next, the event last. The signed bytes are durable before they are sent; what a
//! stop or an outage interrupts is sent again, the same bytes, until the directory has said yes or no
//! (`account_creation::resume`). Only one change of an identity is under way at a time.

use atproto::{
    plc::Signed,
    syntax::{AtIdentifier, Did, Handle},
};
use store::{Account, Announcement, IdentityChange};

use crate::{
    account_creation::Sending,
    app::{App, Shared},
    error::XrpcError,
    plc_client::PlcClientError,
    rotation_key,
    store_error::chain,
};

/// Gives an account another handle, at the directory and here, and announces it. The caller has checked that the account
/// may have it. Runs to its end even when the caller goes away.
///
/// # Errors
/// The store's refusals of names; 400 with the directory's reason; 502 when it does not answer.
pub(crate) async fn set_handle(app: &Shared, did: &Did, handle: Handle) -> Result<(), XrpcError> {
    let task = app.tasks.spawn({
        let (app, did) = (Shared::clone(app), did.clone());
        async move {
            let _claim = claim(&app, &did)?;
            run_set_handle(&app, &did, handle).await
        }
    });
    task.await.map_err(XrpcError::internal)?
}

/// Hands a signed operation in and announces it. The caller has checked it. Runs to its end even when the caller goes
/// away.
///
/// # Errors
/// 400 with the directory's reason; 502 when it does not answer.
pub(crate) async fn submit(app: &Shared, did: &Did, operation: &Signed) -> Result<(), XrpcError> {
    let bytes = operation.to_json();
    let task = app.tasks.spawn({
        let (app, did) = (Shared::clone(app), did.clone());
        async move {
            let _claim = claim(&app, &did)?;
            send(&app, &did, None, bytes).await
        }
    });
    task.await.map_err(XrpcError::internal)?
}

/// Reads an identity's newest operation in the directory.
///
/// # Errors
/// 400 when there is none, 502 when the directory does not answer.
pub(crate) async fn last_operation(app: &App, did: &Did) -> Result<Signed, XrpcError> {
    app.plc.last(did).await.map_err(|err| refused(&err))
}

/// The refusal of a change at an ended identity.
pub(crate) fn tombstoned() -> XrpcError {
    XrpcError::invalid_request("Did is tombstoned")
}

fn claim<'a>(app: &'a App, did: &Did) -> Result<crate::account_creation::Claim<'a>, XrpcError> {
    app.creations.claim(did).ok_or_else(|| store::StoreError::ChangeUnderWay.into())
}

async fn run_set_handle(app: &App, did: &Did, handle: Handle) -> Result<(), XrpcError> {
    let account = app.account(&AtIdentifier::Did(did.clone())).await?;
    let account = account.ok_or_else(|| XrpcError::invalid_request("Account not found"))?;
    if let Some(operation) = operation_for(app, &account, &handle).await? {
        return send(app, did, Some(handle), operation.to_json()).await;
    }
    app.store.set_handle(did, handle).await?;
    app.identity.forget(did);
    Ok(())
}

/// Signs the operation that makes `handle` the account's; none when the identity needs none.
async fn operation_for(app: &App, account: &Account, handle: &Handle) -> Result<Option<Signed>, XrpcError> {
    let did = &account.did;
    if did.is_plc() {
        let last = last_operation(app, did).await?;
        let mut state = last.state().ok_or_else(tombstoned)?;
        if state.handle().as_ref() == Some(handle) {
            return Ok(None);
        }
        let signer = rotation_key::signer(app, &state.rotation_keys).await?;
        state.set_handle(handle);
        let operation = state.sign(Some(last.cid()), &signer, app.now()?);
        operation.check_limits().map_err(|e| XrpcError::invalid_request(e.to_string()))?;
        return Ok(Some(operation));
    }
    // This server writes the documents of the identities that it gives out itself.
    if !app.identity.gives_out(did) {
        let document = app.identity.fresh_document(did).await?;
        if document.handle().as_ref() != Some(handle) {
            return Err(XrpcError::invalid_request("DID is not properly configured for handle"));
        }
    }
    Ok(None)
}

async fn send(app: &App, did: &Did, handle: Option<Handle>, operation: Vec<u8>) -> Result<(), XrpcError> {
    let change = app.store.begin_identity_change(did, handle, operation).await?;
    let result = finish(app, &change, Sending::First).await;
    if result.is_err() {
        app.creations.look_again();
    }
    result
}

/// Sends a change's bytes and makes the change here, or gives it up when the directory has surely not taken it.
pub(crate) async fn finish(app: &App, change: &IdentityChange, sending: Sending) -> Result<(), XrpcError> {
    let did = &change.did;
    if let Err(err) = app.plc.submit_json(did, &change.plc_operation).await {
        let surely_unknown = sending == Sending::First && err.was_never_sent();
        if !err.is_temporary() || surely_unknown {
            app.store.abandon_identity_change(did).await?;
        }
        return Err(refused(&err));
    }
    app.identity.forget(did);
    if sending == Sending::Again && !is_in_force(app, change).await? {
        // Somebody with another key has changed the identity since: that counts.
        app.store.abandon_identity_change(did).await?;
        app.store.announce(did, vec![Announcement::Identity]).await?;
        return Ok(());
    }
    Ok(app.store.complete_identity_change(did).await?)
}

/// Whether the identity still has the handle that a change of some time ago gave it.
async fn is_in_force(app: &App, change: &IdentityChange) -> Result<bool, XrpcError> {
    let Some(handle) = &change.handle else { return Ok(true) };
    let state = last_operation(app, &change.did).await?.state();
    Ok(state.is_some_and(|state| state.handle().as_ref() == Some(handle)))
}

fn refused(err: &PlcClientError) -> XrpcError {
    match err {
        PlcClientError::Refused { status, message } => {
            XrpcError::invalid_request(format!("The PLC directory refused the change: {message}"))
                .because(format!("status {status}"))
        }
        PlcClientError::Gone => tombstoned(),
        PlcClientError::NotPlc | PlcClientError::NotFound | PlcClientError::BadOperation(_) => {
            XrpcError::invalid_request(err.to_string()).because(chain(err))
        }
        err => XrpcError::upstream("The PLC directory does not answer; try again later", chain(err)),
    }
}
