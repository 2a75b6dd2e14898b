//! `com.atproto.admin`: what the operator, and for most of it the moderation service, may do to accounts that are not
//! theirs. Every call that changes something leaves a line in the log: who is hidden, and by what reference.

mod account_invites;
mod delete_account;
mod disable_account_invites;
mod disable_invite_codes;
mod enable_account_invites;
mod get_account_info;
mod get_account_infos;
mod get_invite_codes;
mod get_subject_status;
mod send_email;
mod subject;
mod update_account_email;
mod update_account_handle;
mod update_account_password;
mod update_subject_status;
mod view;

use super::route::Route;

/// Who may call the methods that the moderation service may call too, in the words of `docs/xrpc.md`.
const MODERATOR: &str = "operator or moderation service";

/// Who may call the others.
pub(super) const OPERATOR: &str = "operator";

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::procedure("com.atproto.admin.updateSubjectStatus", update_subject_status::handle)
            .auth(MODERATOR)
            .differs(
                "a takedown whose reference begins with `SUSPEND` or `BSKY-SUSPEND` makes the account `suspended` instead \
                 of `takendown`, so that relays and apps can say that it is for a time; an account that is not here is \
                 refused instead of being announced as deleted; a record or blob stays hidden when its owner makes it again",
            ),
        Route::query("com.atproto.admin.getSubjectStatus", get_subject_status::handle).auth(MODERATOR),
        Route::query("com.atproto.admin.getAccountInfo", get_account_info::handle)
            .auth(MODERATOR)
            .differs("shows the invite note too"),
        Route::query("com.atproto.admin.getAccountInfos", get_account_infos::handle)
            .auth(MODERATOR)
            .differs("shows the invite note too; at most 100 accounts in one call"),
        Route::procedure("com.atproto.admin.enableAccountInvites", enable_account_invites::handle)
            .auth(MODERATOR),
        Route::procedure("com.atproto.admin.disableAccountInvites", disable_account_invites::handle)
            .auth(MODERATOR)
            .differs("the note is kept and shown"),
        Route::procedure("com.atproto.admin.disableInviteCodes", disable_invite_codes::handle).auth(MODERATOR),
        Route::query("com.atproto.admin.getInviteCodes", get_invite_codes::handle).auth(MODERATOR),
        Route::procedure("com.atproto.admin.sendEmail", send_email::handle)
            .auth(MODERATOR)
            .differs("plain text only; 501 when no mail server is set"),
        Route::procedure("com.atproto.admin.updateAccountEmail", update_account_email::handle)
            .auth(OPERATOR)
            .differs("the address must have the form of one"),
        Route::procedure("com.atproto.admin.updateAccountHandle", update_account_handle::handle).auth(OPERATOR),
        Route::procedure("com.atproto.admin.updateAccountPassword", update_account_password::handle)
            .auth(OPERATOR)
            .differs("an empty password is refused"),
        Route::procedure("com.atproto.admin.deleteAccount", delete_account::handle)
            .auth(OPERATOR)
            .differs("an account that is not here is refused instead of being announced as deleted"),
    ]
}
