//! `com.atproto.server.createInviteCodes`: makes several codes, to be given away by the operator or by accounts.

use atproto::syntax::Did;
use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use store::{ADMIN, NewInvite};

use super::super::shared::json;
use crate::{
    app::{App, Shared},
    auth::admin::Admin,
    error::XrpcError,
    input::{Json, field},
    invites::new_code,
};

/// How many may come by one code. Above all accounts that a home server will ever have.
pub(super) type Uses = u32;

/// Codes in one call: some 100 KiB, in one transaction.
const CODES_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(default = "one")]
    code_count: usize,
    use_count: Uses,
    #[serde(default)]
    for_accounts: Option<Vec<String>>,
}

fn one() -> usize {
    1
}

#[derive(Serialize)]
struct Output {
    codes: Vec<AccountCodes>,
}

/// The codes of one giver.
#[derive(Serialize)]
pub(super) struct AccountCodes {
    account: String,
    pub(super) codes: Vec<String>,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    _operator: Admin,
    body: Json,
) -> Result<Response, XrpcError> {
    let input: Input = body.parse()?;
    let accounts = input.for_accounts.unwrap_or_default();
    Ok(json(&Output { codes: make(&app, accounts, input.code_count, input.use_count).await? }))
}

/// Makes `count` codes for each giver; for the operator when there is none.
pub(super) async fn make(
    app: &App,
    mut givers: Vec<String>,
    count: usize,
    uses: Uses,
) -> Result<Vec<AccountCodes>, XrpcError> {
    for giver in &givers {
        field("forAccount", giver, Did::parse)?;
    }
    if givers.is_empty() {
        givers.push(ADMIN.to_owned());
    }
    if givers.len().saturating_mul(count) > CODES_MAX {
        return Err(XrpcError::invalid_request(format!("At most {CODES_MAX} codes in one call")));
    }
    let mut made = Vec::with_capacity(givers.len());
    for account in givers {
        let codes = (0..count).map(|_| new_code(&app.config)).collect::<Result<Vec<_>, _>>()?;
        made.push(AccountCodes { account, codes });
    }
    let invites = made.iter().flat_map(|AccountCodes { account, codes }| {
        codes.iter().map(|code| NewInvite {
            code: code.clone(),
            account: account.clone(),
            created_by: ADMIN.to_owned(),
            uses_max: uses,
        })
    });
    app.store.add_invites(invites.collect(), app.now()?).await?;
    Ok(made)
}
