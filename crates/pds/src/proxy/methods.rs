//! Which methods are not passed on, and which only for privileged sessions. Pure tables.
//!
//! Names are compared without regard to case: a method must not escape its rule by another spelling.

/// Methods of the account itself. They are called here by the account's owner, never through a service token: what
/// such a token could reach would be the whole account.
const PROTECTED: [&str; 16] = [
    "com.atproto.admin.sendEmail",
    "com.atproto.identity.requestPlcOperationSignature",
    "com.atproto.identity.signPlcOperation",
    "com.atproto.identity.updateHandle",
    "com.atproto.server.activateAccount",
    "com.atproto.server.confirmEmail",
    "com.atproto.server.createAppPassword",
    "com.atproto.server.deactivateAccount",
    "com.atproto.server.getAccountInviteCodes",
    "com.atproto.server.getSession",
    "com.atproto.server.listAppPasswords",
    "com.atproto.server.requestAccountDelete",
    "com.atproto.server.requestEmailConfirmation",
    "com.atproto.server.requestEmailUpdate",
    "com.atproto.server.revokeAppPassword",
    "com.atproto.server.updateEmail",
];

/// Methods that an app password reaches only if its owner made it a privileged one: private messages, and moving away.
const PRIVILEGED: [&str; 15] = [
    "chat.bsky.actor.deleteAccount",
    "chat.bsky.actor.exportAccountData",
    "chat.bsky.convo.deleteMessageForSelf",
    "chat.bsky.convo.getConvo",
    "chat.bsky.convo.getConvoForMembers",
    "chat.bsky.convo.getLog",
    "chat.bsky.convo.getMessages",
    "chat.bsky.convo.leaveConvo",
    "chat.bsky.convo.listConvos",
    "chat.bsky.convo.muteConvo",
    "chat.bsky.convo.sendMessage",
    "chat.bsky.convo.sendMessageBatch",
    "chat.bsky.convo.unmuteConvo",
    "chat.bsky.convo.updateRead",
    "com.atproto.server.createAccount",
];

/// Says whether a method may be neither passed on nor named in a service token.
#[must_use]
pub(crate) fn is_protected(method: &str) -> bool {
    PROTECTED.iter().any(|name| name.eq_ignore_ascii_case(method))
}

/// Says whether a method needs a session that [`Privileged`](crate::auth::Privileged) takes.
#[must_use]
pub(crate) fn is_privileged(method: &str) -> bool {
    PRIVILEGED.iter().any(|name| name.eq_ignore_ascii_case(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_escapes_its_rule() {
        assert!(is_protected("com.atproto.server.getSession"));
        assert!(is_protected("com.atproto.server.GETSESSION"));
        assert!(is_privileged("chat.bsky.convo.getlog") && is_privileged("COM.atproto.server.createAccount"));
        assert!(!is_protected("com.atproto.server.createAccount") && !is_privileged("app.bsky.feed.getFeed"));
    }
}
