//! Accounts and invite codes as the operator sees them.

use atproto::syntax::Did;
use platform::time::format_rfc3339_millis;
use serde::Serialize;
use store::{Invite, Reader, StoreError};

/// `com.atproto.admin.defs#accountView`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountView {
    did: String,
    handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    indexed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    invited_by: Option<InviteView>,
    invites: Vec<InviteView>,
    invites_disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    invite_note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_confirmed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deactivated_at: Option<String>,
}

/// Reads an account with all that belongs to it.
pub(super) fn read(r: &Reader<'_>, did: &Did) -> Result<Option<AccountView>, StoreError> {
    let Some(account) = r.account_by_did(did)? else { return Ok(None) };
    let rights = r.invite_rights(&account)?;
    Ok(Some(AccountView {
        invited_by: r.invited_by(did)?.map(InviteView::of),
        invites: r.invites_of(did.as_str())?.into_iter().map(InviteView::of).collect(),
        invites_disabled: rights.disabled,
        invite_note: rights.note,
        did: account.did.to_string(),
        handle: account.handle.to_string(),
        email: account.email,
        indexed_at: format_rfc3339_millis(account.created_at_us),
        email_confirmed_at: account.email_confirmed_at_us.map(format_rfc3339_millis),
        deactivated_at: account.deactivated_at_us.map(format_rfc3339_millis),
    }))
}

/// `com.atproto.server.defs#inviteCode`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InviteView {
    code: String,
    available: u32,
    disabled: bool,
    for_account: String,
    created_by: String,
    created_at: String,
    uses: Vec<UseView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UseView {
    used_by: String,
    used_at: String,
}

impl InviteView {
    pub(super) fn of(invite: Invite) -> Self {
        let of_use = |used: store::InviteUse| UseView {
            used_by: used.used_by,
            used_at: format_rfc3339_millis(used.used_at_us),
        };
        Self {
            code: invite.code,
            available: invite.uses_max,
            disabled: invite.disabled,
            for_account: invite.account,
            created_by: invite.created_by,
            created_at: format_rfc3339_millis(invite.created_at_us),
            uses: invite.uses.into_iter().map(of_use).collect(),
        }
    }
}
