//! Which handles this server gives out.

use atproto::syntax::Handle;

use crate::error::XrpcError;

/// Length of the part before the server's domain, characters: shorter ones are too precious to go first come first
/// served, longer ones do not fit the columns of common clients. As the reference.
const NAME_CHARS_MIN: usize = 3;
/// See [`NAME_CHARS_MIN`].
const NAME_CHARS_MAX: usize = 18;

/// Names that readers would take for the operator's, or that other services under the same domain use. Sorted.
const RESERVED: &[&str] = &[
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "admins",
    "api",
    "app",
    "apps",
    "atproto",
    "auth",
    "autoconfig",
    "autodiscover",
    "backup",
    "billing",
    "blog",
    "bot",
    "broadcasthost",
    "bsky",
    "bluesky",
    "cdn",
    "contact",
    "dashboard",
    "dev",
    "developer",
    "dns",
    "docs",
    "download",
    "email",
    "everyone",
    "faq",
    "feed",
    "feeds",
    "ftp",
    "git",
    "guest",
    "help",
    "helpdesk",
    "home",
    "host",
    "hostmaster",
    "http",
    "https",
    "imap",
    "info",
    "invite",
    "isatap",
    "join",
    "labeler",
    "legal",
    "list",
    "lists",
    "localdomain",
    "localhost",
    "login",
    "logout",
    "mail",
    "mailer",
    "media",
    "mod",
    "moderation",
    "moderator",
    "news",
    "noc",
    "noreply",
    "notifications",
    "null",
    "oauth",
    "official",
    "operator",
    "owner",
    "panel",
    "password",
    "pds",
    "perch",
    "plc",
    "policy",
    "pop",
    "postmaster",
    "press",
    "privacy",
    "profile",
    "public",
    "register",
    "relay",
    "report",
    "root",
    "sales",
    "search",
    "security",
    "server",
    "service",
    "settings",
    "setup",
    "sftp",
    "shop",
    "signin",
    "signup",
    "smtp",
    "ssh",
    "ssl",
    "staff",
    "static",
    "status",
    "store",
    "superuser",
    "support",
    "sysadmin",
    "system",
    "team",
    "terms",
    "test",
    "tls",
    "undefined",
    "update",
    "user",
    "users",
    "usenet",
    "verify",
    "web",
    "webmaster",
    "wpad",
    "www",
    "xrpc",
];

/// Checks a handle that a new account asks for.
///
/// # Errors
/// 400 `InvalidHandle`, `UnsupportedDomain`, `HandleNotAvailable`.
pub(crate) fn check_new(text: &str, domains: &[String]) -> Result<Handle, XrpcError> {
    let text = text.trim().trim_start_matches('@').to_ascii_lowercase();
    let invalid = |why: &'static str| XrpcError::bad("InvalidHandle", why);
    let handle = Handle::parse(&text)
        .map_err(|e| XrpcError::bad("InvalidHandle", format!("Input/handle must be a valid handle: {e}")))?;
    if handle.is_reserved() {
        return Err(invalid("Handle TLD is invalid or disallowed"));
    }
    let name = domains.iter().find_map(|domain| text.strip_suffix(domain.as_str()));
    let name = name.ok_or_else(|| XrpcError::bad("UnsupportedDomain", "Not a supported handle domain"))?;
    if name.contains('.') {
        return Err(invalid("Invalid characters in handle"));
    }
    if name.len() < NAME_CHARS_MIN {
        return Err(invalid("Handle too short"));
    }
    if name.len() > NAME_CHARS_MAX {
        return Err(invalid("Handle too long"));
    }
    if RESERVED.contains(&name) {
        return Err(XrpcError::bad("HandleNotAvailable", "Reserved handle"));
    }
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(text: &str) -> Result<String, &'static str> {
        check_new(text, &[".test".to_owned(), ".pds.example.com".to_owned()])
            .map(|h| h.to_string())
            .map_err(|e| e.name())
    }

    #[test]
    fn handles_keep_the_rules_of_length_dots_domain_and_reserve() {
        assert_eq!(name_of("Alice.test").as_deref(), Ok("alice.test"));
        assert_eq!(name_of("@bob.pds.example.com").as_deref(), Ok("bob.pds.example.com"));
        for (text, name) in [
            ("al.test", "InvalidHandle"),
            ("a123456789012345678.test", "InvalidHandle"),
            ("a.lice.test", "InvalidHandle"),
            ("alice", "InvalidHandle"),
            ("al!ce.test", "InvalidHandle"),
            ("alice.example.com", "UnsupportedDomain"),
            ("alice.local", "InvalidHandle"),
            ("admin.test", "HandleNotAvailable"),
        ] {
            assert_eq!(name_of(text), Err(name), "{text}");
        }
        assert!(name_of("a12345678901234567.test").is_ok(), "18 characters");
    }
}
