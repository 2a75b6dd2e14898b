//! Which e-mail addresses an account may have.

use lettre::Address;

use crate::error::XrpcError;

/// Longest e-mail address, bytes (RFC 5321 section 4.5.3.1.3).
const EMAIL_BYTES_MAX: usize = 254;

/// Domains that give an address away for minutes: mail to it reaches whoever comes next. The best known ones only; what
/// keeps strangers out is `invite_required`.
const DISPOSABLE: &[&str] = &[
    "10minutemail.com",
    "10minutemail.net",
    "burnermail.io",
    "discard.email",
    "dispostable.com",
    "emailondeck.com",
    "fakeinbox.com",
    "fakemail.net",
    "getairmail.com",
    "getnada.com",
    "grr.la",
    "guerrillamail.biz",
    "guerrillamail.com",
    "guerrillamail.de",
    "guerrillamail.net",
    "guerrillamail.org",
    "guerrillamailblock.com",
    "inboxkitten.com",
    "mailcatch.com",
    "maildrop.cc",
    "mailinator.com",
    "mailinator.net",
    "mailnesia.com",
    "mailsac.com",
    "mintemail.com",
    "moakt.com",
    "mohmal.com",
    "mytemp.email",
    "nada.email",
    "pokemail.net",
    "sharklasers.com",
    "spam4.me",
    "tempail.com",
    "tempmail.com",
    "tempmail.net",
    "temp-mail.io",
    "temp-mail.org",
    "tempr.email",
    "throwawaymail.com",
    "trashmail.com",
    "trashmail.de",
    "trashmail.net",
    "wegwerfmail.de",
    "yopmail.com",
    "yopmail.fr",
    "yopmail.net",
];

/// Checks an address that an account is to have; gives it in lower case.
///
/// # Errors
/// 400 for what is no address, or one of a throw-away service.
pub(crate) fn check(text: &str) -> Result<String, XrpcError> {
    let email = text.trim().to_lowercase();
    let unsupported =
        || XrpcError::invalid_request("This email address is not supported, please use a different email.");
    let address: Address = email.parse().map_err(|_| unsupported())?;
    let domain = address.domain();
    let domain_ok = domain.contains('.') && !domain.starts_with(['.', '[']) && !domain.ends_with('.');
    if email.len() > EMAIL_BYTES_MAX || !domain_ok || is_disposable(domain) {
        return Err(unsupported());
    }
    Ok(email)
}

fn is_disposable(domain: &str) -> bool {
    DISPOSABLE.iter().any(|known| {
        domain.strip_suffix(known).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_reach_somebody_are_taken_in_lower_case() {
        assert_eq!(check(" Alice.B+x@Mail.Example.ORG ").as_deref().ok(), Some("alice.b+x@mail.example.org"));
        assert!(check("me@notmailinator.com").is_ok());
        for wrong in [
            "",
            "alice",
            "@example.org",
            "alice@",
            "alice@host",
            "a@b@example.org",
            "alice@.org",
            "alice@example.org.",
            "al ice@example.org",
            "alice@[127.0.0.1]",
            "alice@example.org\r\nBcc: eve@example.org",
            "anyone@mailinator.com",
            "anyone@deep.sub.yopmail.com",
        ] {
            assert_eq!(check(wrong).map_err(|e| e.name()), Err("InvalidRequest"), "{wrong}");
        }
        assert!(check(&format!("{}@example.org", "a".repeat(250))).is_err());
    }
}
