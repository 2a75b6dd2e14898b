//! `com.atproto.identity`: handles and DIDs.

mod get_recommended_did_credentials;
mod request_plc_operation_signature;
mod resolve_handle;
mod sign_plc_operation;
mod submit_plc_operation;
mod update_handle;

use atproto::syntax::{AtIdentifier, Did};
use store::Account;

use super::route::Route;
use crate::{app::App, error::XrpcError};

/// Who may call what a full session may.
const FULL: &str = "full session, also to an account that the operator has hidden";
/// Who may call what app passwords may.
const STANDARD: &str = "session, also of an app password";

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::query("com.atproto.identity.resolveHandle", resolve_handle::handle).differs(
            "handles of others are resolved here, by DNS and https, not by the AppView: it works without one",
        ),
        Route::procedure("com.atproto.identity.updateHandle", update_handle::handle)
            .auth(STANDARD)
            .differs("an identity without a PLC operation to make, as a did:web given out here, needs none"),
        Route::query(
            "com.atproto.identity.getRecommendedDidCredentials",
            get_recommended_did_credentials::handle,
        )
        .auth(STANDARD)
        .differs("a did:web gets no rotation keys: it has none"),
        Route::procedure(
            "com.atproto.identity.requestPlcOperationSignature",
            request_plc_operation_signature::handle,
        )
        .auth(FULL)
        .differs("without a mail server the code appears on the box's screen after a press of the button"),
        Route::procedure("com.atproto.identity.signPlcOperation", sign_plc_operation::handle)
            .auth(FULL)
            .differs(
                "the code is only used up when the directory answers and the operation keeps its limits",
            ),
        Route::procedure("com.atproto.identity.submitPlcOperation", submit_plc_operation::handle)
            .auth(STANDARD)
            .differs(
                "an operation whose answer is lost is sent again, the same bytes, until its fate is known",
            ),
    ]
}

/// The signed-in account.
///
/// # Errors
/// 400 when it is gone.
async fn own_account(app: &App, did: &Did) -> Result<Account, XrpcError> {
    let account = app.account(&AtIdentifier::Did(did.clone())).await?;
    account.ok_or_else(|| XrpcError::invalid_request("Account not found"))
}

/// Refuses what only identities of the PLC directory have.
///
/// # Errors
/// 400.
fn require_plc(did: &Did) -> Result<(), XrpcError> {
    if did.is_plc() {
        return Ok(());
    }
    Err(XrpcError::invalid_request(
        "Only a did:plc has PLC operations; this account's identity is another kind",
    ))
}
