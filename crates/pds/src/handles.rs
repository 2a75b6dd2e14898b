//! Which handles this server gives out.

use atproto::syntax::{AtIdentifier, Did, Handle};
use store::{Status, StoreError};

use crate::{app::App, error::XrpcError, store_error::chain};

/// Length of the part before the server's domain, characters: shorter ones are too precious to go first come first
/// served, longer ones do not fit the columns of common clients. As the reference.
const NAME_CHARS_MIN: usize = 3;
/// See [`NAME_CHARS_MIN`].
const NAME_CHARS_MAX: usize = 18;

/// Names that readers would take for the operator's, or that other services under the same domain use. Sorted.
const RESERVED: &[&str] = &[
    "about",
    "abuse",
    "abuse-report",
    "accessibility",
    "account",
    "accounts",
    "admin",
    "administrator",
    "admins",
    "advertise",
    "advertising",
    "affiliate",
    "alerts",
    "analytics",
    "announcements",
    "api",
    "app",
    "apps",
    "archive",
    "archives",
    "assets",
    "atproto",
    "auth",
    "autoconfig",
    "autodiscover",
    "backup",
    "badge",
    "badges",
    "beta",
    "billing",
    "blog",
    "bluesky",
    "board",
    "bot",
    "broadcasthost",
    "bsky",
    "business",
    "calendar",
    "careers",
    "cdn",
    "chat",
    "checkout",
    "client",
    "cloud",
    "code",
    "comments",
    "community",
    "config",
    "confirm",
    "connect",
    "console",
    "contact",
    "copyright",
    "css",
    "customer",
    "dashboard",
    "delete",
    "demo",
    "design",
    "dev",
    "developer",
    "device",
    "directory",
    "discover",
    "dmca",
    "dns",
    "docs",
    "domain",
    "domains",
    "donate",
    "download",
    "email",
    "error",
    "errors",
    "events",
    "everyone",
    "explore",
    "export",
    "faq",
    "feed",
    "feedback",
    "feeds",
    "file",
    "files",
    "finance",
    "firehose",
    "forum",
    "forums",
    "ftp",
    "gateway",
    "git",
    "graph",
    "group",
    "groups",
    "guest",
    "guide",
    "handle",
    "handles",
    "hashtag",
    "health",
    "help",
    "helpdesk",
    "home",
    "host",
    "hosting",
    "hostmaster",
    "http",
    "https",
    "image",
    "images",
    "imap",
    "imprint",
    "inbox",
    "index",
    "info",
    "internal",
    "invite",
    "invites",
    "isatap",
    "jobs",
    "join",
    "key",
    "lab",
    "labeler",
    "labels",
    "language",
    "launch",
    "legal",
    "license",
    "list",
    "lists",
    "live",
    "localdomain",
    "localhost",
    "log",
    "login",
    "logout",
    "logs",
    "lost-password",
    "mail",
    "mailer",
    "manage",
    "manager",
    "map",
    "maps",
    "market",
    "master",
    "media",
    "messages",
    "metrics",
    "mobile",
    "mod",
    "moderation",
    "moderator",
    "music",
    "network",
    "networks",
    "news",
    "newsletter",
    "noc",
    "node",
    "none",
    "noreply",
    "notification",
    "notifications",
    "null",
    "oauth",
    "offers",
    "official",
    "online",
    "open",
    "operator",
    "order",
    "orders",
    "owner",
    "page",
    "pages",
    "panel",
    "partner",
    "partners",
    "password",
    "payment",
    "payments",
    "pds",
    "perch",
    "photo",
    "photos",
    "photostream",
    "plans",
    "plc",
    "plugin",
    "plugins",
    "policy",
    "pop",
    "portal",
    "post",
    "postmaster",
    "posts",
    "premium",
    "press",
    "preview",
    "pricing",
    "privacy",
    "private",
    "product",
    "products",
    "profile",
    "projects",
    "proxy",
    "public",
    "random",
    "recovery",
    "redirect",
    "refund",
    "register",
    "relay",
    "release",
    "remove",
    "report",
    "reset",
    "root",
    "rss",
    "sales",
    "sandbox",
    "save",
    "script",
    "search",
    "secure",
    "security",
    "server",
    "service",
    "session",
    "sessions",
    "settings",
    "setup",
    "sftp",
    "share",
    "shop",
    "signin",
    "signup",
    "site",
    "sitemap",
    "sites",
    "smtp",
    "source",
    "spam",
    "ssh",
    "ssl",
    "ssladmin",
    "staff",
    "staging",
    "start",
    "static",
    "statistics",
    "stats",
    "status",
    "store",
    "stream",
    "subdomain",
    "subscribe",
    "suggest",
    "superuser",
    "support",
    "suspended",
    "sysadmin",
    "system",
    "tag",
    "tags",
    "task",
    "tasks",
    "team",
    "template",
    "terms",
    "test",
    "tests",
    "theme",
    "themes",
    "tls",
    "tools",
    "topic",
    "topics",
    "tour",
    "trends",
    "trust",
    "undefined",
    "unsubscribe",
    "update",
    "upgrade",
    "upload",
    "usenet",
    "user",
    "username",
    "users",
    "verify",
    "video",
    "videos",
    "visitor",
    "vpn",
    "web",
    "webhook",
    "webhooks",
    "webmail",
    "webmaster",
    "website",
    "websites",
    "welcome",
    "widget",
    "widgets",
    "wiki",
    "wpad",
    "www",
    "xrpc",
    "you",
];

/// Whether this server gives the handle out, or could.
#[must_use]
pub(crate) fn is_under(handle: &Handle, domains: &[String]) -> bool {
    domains.iter().any(|domain| handle.as_str().ends_with(domain.as_str()))
}

/// Finds out which DID a handle stands for: in the store for this server's own, by DNS and https for others.
///
/// # Errors
/// 500 when the store fails.
pub(crate) async fn resolve(app: &App, handle: &Handle) -> Result<Option<Did>, XrpcError> {
    let account = app.account(&AtIdentifier::Handle(handle.clone())).await?;
    if let Some(account) = account.filter(|account| account.status == Status::Active) {
        return Ok(Some(account.did));
    }
    let domains = &app.config.handle_domains;
    // Nobody else can say whom a name under our domains stands for.
    let is_domain = domains.iter().any(|domain| domain.strip_prefix('.') == Some(handle.as_str()));
    if is_under(handle, domains) || is_domain {
        return Ok(None);
    }
    Ok(app.identity.resolve_handle(handle).await)
}

/// Checks a handle that an identity asks for: one of this server's by its rules, another's by asking whom it stands for.
///
/// # Errors
/// 400 `InvalidHandle`, `HandleNotAvailable`, or `InvalidRequest` when it stands for somebody else.
pub(crate) async fn check_for(app: &App, text: &str, did: &Did) -> Result<Handle, XrpcError> {
    let handle = match check_new(text, &app.config.handle_domains) {
        Err(refused) if refused.name() == "UnsupportedDomain" => parse(text)?,
        checked => return checked,
    };
    let elsewhere = || XrpcError::invalid_request("External handle did not resolve to DID");
    match app.identity.fresh_handle(&handle).await {
        Ok(Some(found)) if found == *did => Ok(handle),
        Ok(_) => Err(elsewhere()),
        Err(e) => Err(elsewhere().because(chain(&e))),
    }
}

/// Checks that no other account has the handle; the store checks again when it is taken.
///
/// # Errors
/// 400 `HandleNotAvailable`.
pub(crate) async fn require_free(app: &App, handle: &Handle, did: &Did) -> Result<(), XrpcError> {
    match app.account(&AtIdentifier::Handle(handle.clone())).await? {
        Some(account) if account.did != *did => Err(StoreError::HandleTaken.into()),
        Some(_) | None => Ok(()),
    }
}

fn parse(text: &str) -> Result<Handle, XrpcError> {
    Handle::parse(text.trim().trim_start_matches('@').to_ascii_lowercase().as_str())
        .map_err(|e| XrpcError::invalid_request(format!("Input/handle must be a valid handle: {e}")))
}

/// Checks a handle that the operator gives an account: as [`check_for`], but reserved names are theirs to give.
///
/// # Errors
/// As [`check_for`].
pub(crate) async fn check_for_operator(app: &App, text: &str, did: &Did) -> Result<Handle, XrpcError> {
    match check_for(app, text, did).await {
        // Reserved is the last thing that is looked at: all else about it is right.
        Err(refused) if refused.name() == "HandleNotAvailable" => parse(text),
        checked => checked,
    }
}

/// Checks a handle that a new account asks for.
///
/// # Errors
/// 400 `InvalidHandle`, `UnsupportedDomain`, `HandleNotAvailable`.
pub(crate) fn check_new(text: &str, domains: &[String]) -> Result<Handle, XrpcError> {
    let invalid = |why: &'static str| XrpcError::bad("InvalidHandle", why);
    let handle = parse(text)?;
    let text = handle.as_str();
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
            ("alice", "InvalidRequest"),
            ("al!ce.test", "InvalidRequest"),
            ("alice.example.com", "UnsupportedDomain"),
            ("alice.local", "InvalidHandle"),
            ("admin.test", "HandleNotAvailable"),
        ] {
            assert_eq!(name_of(text), Err(name), "{text}");
        }
        assert!(name_of("a12345678901234567.test").is_ok(), "18 characters");
    }
}
