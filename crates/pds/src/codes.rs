//! One-time codes: what proves that a request came from the owner, by mail or, on a box that sends none, by the screen
//! of the box itself.
//!
//! Only the hash of a code is stored; the code is in the mail or behind the button, and nowhere else.

use std::sync::Arc;

use atproto::syntax::Did;
use data_encoding::BASE32_NOPAD;
use platform::{
    codes::{CodeOffer, CodeScreen, ShownCode},
    time::TrustedTime,
};
use sha2::{Digest, Sha256};
use store::{Account, Store};

use crate::{
    error::XrpcError,
    mail::{Letter, Mailer},
    store_error::chain,
};

/// Life of a code, microseconds: 15 minutes, as the reference.
const LIFE_US: u64 = 15 * 60 * 1_000_000;

/// Random bytes of a code: ten letters of base32, 50 bits. With fifty tries in five minutes nobody guesses one.
const CODE_BYTES: usize = 7;

/// Letters in each half of a code.
const HALF: usize = 5;

/// What a code is for. One code per purpose and account is valid at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `confirmEmail`.
    ConfirmEmail,
    /// `updateEmail`.
    UpdateEmail,
    /// `resetPassword`. Nobody is signed in who asks for it, so that the screen never shows it.
    ResetPassword,
    /// `deleteAccount`.
    DeleteAccount,
    /// `signPlcOperation`.
    PlcOperation,
}

impl Purpose {
    /// The store's word.
    fn key(self) -> &'static str {
        match self {
            Self::ConfirmEmail => "confirm_email",
            Self::UpdateEmail => "update_email",
            Self::ResetPassword => "reset_password",
            Self::DeleteAccount => "delete_account",
            Self::PlcOperation => "plc_operation",
        }
    }

    /// What the screen says that the code does; at most 40 characters, or it is cut there.
    fn words(self) -> &'static str {
        match self {
            Self::ConfirmEmail => "confirm the e-mail address",
            Self::UpdateEmail => "change the e-mail address",
            Self::ResetPassword => "set a new password",
            Self::DeleteAccount => "DELETE THE ACCOUNT",
            Self::PlcOperation => "change keys or home of the account",
        }
    }
}

/// Makes codes, gets them to their owner, and takes them back.
#[derive(Debug)]
pub(crate) struct Codes {
    store: Store,
    mailer: Arc<Mailer>,
    screen: Option<Arc<dyn CodeScreen>>,
    hostname: String,
}

impl Codes {
    /// Codes travel by `mailer`, or by `screen` where no mail server is set.
    pub(crate) fn new(
        store: Store,
        mailer: Arc<Mailer>,
        screen: Option<Arc<dyn CodeScreen>>,
        hostname: String,
    ) -> Self {
        Self { store, mailer, screen, hostname }
    }

    /// Makes a code for what the owner asked for, and mails it or offers it to the box's screen. An older code for the
    /// same purpose is void.
    ///
    /// # Errors
    /// 400 when the account has no address, 501 when the server has neither mail nor screen, 502 when the mail is not
    /// taken.
    pub(crate) async fn send(
        &self,
        account: &Account,
        purpose: Purpose,
        now: TrustedTime,
    ) -> Result<(), XrpcError> {
        let to = self.way_to(account, purpose)?;
        let code = new_code()?;
        let ends_us = now.unix_micros().saturating_add(LIFE_US);
        self.store.set_email_token(&account.did, purpose.key(), hash(&code), ends_us).await?;
        match to {
            Way::Mail(address) => {
                let letter = Letter::with_code(purpose, account.handle.as_str(), &code, &self.hostname);
                Ok(self.mailer.send(address, &letter.subject, &letter.text).await?)
            }
            Way::Screen(screen) => screen
                .offer(CodeOffer {
                    purpose: purpose.words(),
                    account: account.handle.to_string(),
                    code: ShownCode::new(code),
                })
                .map_err(|e| {
                    XrpcError::upstream(
                        "The code cannot be shown: the screen of the box does not answer. Its operator can set \
                         smtp_url and email_from, so that codes are mailed.",
                        chain(&e),
                    )
                }),
        }
    }

    /// Checks that there is a way at all for such a code, before its owner is looked for.
    ///
    /// # Errors
    /// 501.
    pub(crate) fn can_send(&self, purpose: Purpose) -> Result<(), XrpcError> {
        let shown = self.screen.is_some() && purpose != Purpose::ResetPassword;
        if self.mailer.is_set_up() || shown { Ok(()) } else { Err(no_way(purpose)) }
    }

    fn way_to<'a>(&'a self, account: &'a Account, purpose: Purpose) -> Result<Way<'a>, XrpcError> {
        if self.mailer.is_set_up() {
            let address = account.email.as_deref();
            return address
                .map(Way::Mail)
                .ok_or_else(|| XrpcError::invalid_request("account does not have an email address"));
        }
        match &self.screen {
            Some(screen) if purpose != Purpose::ResetPassword => Ok(Way::Screen(screen.as_ref())),
            _ => Err(no_way(purpose)),
        }
    }

    /// Uses a code up that its owner typed, in whatever case.
    ///
    /// # Errors
    /// 400 `InvalidToken` or `ExpiredToken`.
    pub(crate) async fn take(
        &self,
        did: &Did,
        purpose: Purpose,
        code: &str,
        now: TrustedTime,
    ) -> Result<(), XrpcError> {
        Ok(self.store.take_email_token(did, purpose.key(), hash(code), now).await?)
    }

    /// Uses a code up whose owner is not known otherwise; gives the owner.
    ///
    /// # Errors
    /// 400 `InvalidToken` or `ExpiredToken`.
    pub(crate) async fn take_from_anyone(
        &self,
        purpose: Purpose,
        code: &str,
        now: TrustedTime,
    ) -> Result<Did, XrpcError> {
        Ok(self.store.take_email_token_of_anyone(purpose.key(), hash(code), now).await?)
    }
}

enum Way<'a> {
    Mail(&'a str),
    Screen(&'a dyn CodeScreen),
}

fn no_way(purpose: Purpose) -> XrpcError {
    XrpcError::not_implemented(match purpose {
        Purpose::ResetPassword => {
            "This server sends no mail, so it cannot mail a code for a new password. Ask its operator to set one for \
             you, or to set smtp_url and email_from."
        }
        _ => {
            "This server sends no mail and has no screen, so there is no way to give you the code. Its operator can \
             set smtp_url and email_from."
        }
    })
}

/// Makes a code as the common apps accept it: `XXXXX-XXXXX` of A-Z and 2-7.
fn new_code() -> Result<String, XrpcError> {
    let mut bytes = [0_u8; CODE_BYTES];
    getrandom::fill(&mut bytes).map_err(XrpcError::internal)?;
    let letters = BASE32_NOPAD.encode(&bytes);
    let (first, rest) = letters.split_at(HALF);
    Ok(format!("{first}-{}", rest.get(..HALF).unwrap_or(rest)))
}

/// What is stored of a code. No salt: a code lives for minutes and has 50 random bits.
fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.trim().to_uppercase().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_form_that_apps_accept_and_differ() {
        let (a, b) = (new_code().unwrap(), new_code().unwrap());
        assert_ne!(a, b);
        for code in [a, b] {
            assert_eq!((code.len(), code.as_bytes()[5]), (11, b'-'), "{code}");
            assert!(code.replace('-', "").bytes().all(|c| b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".contains(&c)));
            assert_eq!(hash(&code), hash(&format!(" {} ", code.to_lowercase())));
        }
    }
}
