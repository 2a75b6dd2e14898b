//! What a client hears when the store refuses or fails.

use axum::http::StatusCode;
use store::{Status, StoreError};

use crate::error::XrpcError;

/// `Retry-After` of a store that is busy or closing, seconds: long jobs and restarts take about so long.
const BUSY_RETRY_S: u32 = 10;

/// `Retry-After` while a repo needs repair, seconds: the relays are asked once a minute whether it may be healed.
const REPAIR_RETRY_S: u32 = 120;

impl From<StoreError> for XrpcError {
    fn from(err: StoreError) -> Self {
        let text = err.to_string();
        match err {
            StoreError::AccountNotFound => Self::forbidden("AccountNotFound", "Account not found"),
            StoreError::AccountInactive { status } => inactive(status),
            StoreError::HandleTaken => Self::bad("HandleNotAvailable", "Handle already taken"),
            StoreError::EmailTaken => Self::invalid_request("Email already taken"),
            StoreError::DidTaken => Self::invalid_request("Account already exists"),
            StoreError::ChangeUnderWay => Self::upstream(
                "An earlier change of this identity still waits for the PLC directory; try again in a minute",
                text,
            ),
            StoreError::InvalidSwap { current } => {
                let current = current.map_or_else(|| "null".to_owned(), |cid| cid.to_string());
                Self::bad("InvalidSwap", format!("Swap does not hold: it was at {current}"))
            }
            StoreError::TooManyOps { max, .. } => {
                Self::invalid_request(format!("Too many writes. Max: {max}"))
            }
            StoreError::TooLarge { .. } => Self::invalid_request("Too many writes. Max event size: 2MB"),
            StoreError::RecordExists { .. }
            | StoreError::RecordNotFound { .. }
            | StoreError::DuplicatePath { .. }
            | StoreError::AnswerTooLarge { .. }
            | StoreError::NameTaken { .. } => Self::invalid_request(text),
            StoreError::BlobNotFound { cid } => {
                Self::bad("BlobNotFound", format!("Could not find blob: {cid}"))
            }
            StoreError::TooManyTempBlobs { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", text)
            }
            StoreError::BlobHeld { .. } => Self::invalid_request("Blob has been takendown, cannot re-upload"),
            StoreError::BlobMimeMismatch { .. } => Self::bad("InvalidMimeType", text),
            StoreError::BlobSizeMismatch { .. } => Self::bad("InvalidSize", text),
            StoreError::BlobTooLarge { max } => Self::payload_too_large(max),
            StoreError::ClockUntrusted(why) => why.into(),
            StoreError::RevAhead { retry_after_s } => Self::unavailable("RevAhead", text, retry_after_s),
            StoreError::RepoNeedsRepair { .. } => Self::unavailable("RepoNeedsRepair", text, REPAIR_RETRY_S),
            StoreError::SessionOver => Self::expired_token("Token has been revoked"),
            StoreError::TokenInvalid => Self::invalid_token("Token is invalid"),
            StoreError::TokenExpired => Self::expired_token("Token is expired"),
            StoreError::InviteUnavailable => {
                Self::bad("InvalidInviteCode", "Provided invite code not available")
            }
            StoreError::InvitesMinted => {
                Self::bad("DuplicateCreate", "attempted to create additional codes in another request")
            }
            StoreError::Import(why) => {
                Self::invalid_request(format!("The repo cannot be imported: {}", chain(&why)))
            }
            StoreError::DiskFull => Self::new(StatusCode::INSUFFICIENT_STORAGE, "DiskFull", text),
            StoreError::Busy { .. } => Self::unavailable("ServerBusy", text, BUSY_RETRY_S),
            StoreError::Closed => {
                Self::unavailable("ShuttingDown", "This server is stopping; try again", BUSY_RETRY_S)
            }
            other => Self::internal(chain(&other)),
        }
    }
}

fn inactive(status: Status) -> XrpcError {
    match status {
        Status::Takendown | Status::Suspended => {
            XrpcError::new(StatusCode::UNAUTHORIZED, "AccountTakedown", "Account has been taken down")
        }
        _ => XrpcError::new(StatusCode::UNAUTHORIZED, "AccountDeactivated", "Account is deactivated"),
    }
}

/// The error's text and those of its causes.
pub(crate) fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}
