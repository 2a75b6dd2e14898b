//! The words of the mails with codes. Plain text: nothing is loaded from anywhere when it is read.

use crate::codes::Purpose;

/// A subject and a text.
#[derive(Debug)]
pub(crate) struct Letter {
    /// The subject; never the code, which previews on a locked phone would show.
    pub(crate) subject: String,
    /// The text.
    pub(crate) text: String,
}

impl Letter {
    /// Writes the mail that carries a code.
    pub(crate) fn with_code(purpose: Purpose, handle: &str, code: &str, hostname: &str) -> Self {
        let (subject, asked, careful) = match purpose {
            Purpose::ConfirmEmail => ("Confirm your e-mail address", "to confirm this e-mail address", ""),
            Purpose::UpdateEmail => (
                "Change of your e-mail address",
                "to give the account another e-mail address",
                "If that was not you, sign in and change your password.",
            ),
            Purpose::ResetPassword => ("Your new password", "to set a new password", ""),
            Purpose::DeleteAccount => (
                "Deletion of your account",
                "to delete the account with everything in it, for ever",
                "If that was not you, do not give the code to anyone, and change your password.",
            ),
            Purpose::PlcOperation => (
                "Change of your identity",
                "to change the keys or the home of the account's identity",
                "Whoever has this code can take the account away. If that was not you, do not give it to anyone, and \
                 change your password.",
            ),
        };
        let careful = if careful.is_empty() { "If that was not you, ignore this mail." } else { careful };
        let text = format!(
            "Somebody asked {hostname} {asked}: {handle}.\n\nThe code is\n\n    {code}\n\nIt works once, within 15 \
             minutes.\n\n{careful}\n"
        );
        Self { subject: format!("{subject} ({handle})"), text }
    }
}
