//! Which headers cross this server, up to the other server and down to the client. All others stop here.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of a call that go up with it.
const UP: [HeaderName; 3] = [
    header::ACCEPT_LANGUAGE,
    HeaderName::from_static("atproto-accept-labelers"),
    HeaderName::from_static("x-bsky-topics"),
];
/// Headers about a call's body, which go up with the body.
const UP_BODY: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LENGTH];

/// The other server's word on how much of the account's repo it knows.
pub(super) const REPO_REV: HeaderName = HeaderName::from_static("atproto-repo-rev");
/// Headers of an answer that come down with it, also with an error.
const DOWN: [HeaderName; 3] =
    [REPO_REV, HeaderName::from_static("atproto-content-labelers"), header::RETRY_AFTER];
/// Headers about an answer's body, which come down with the body.
const DOWN_BODY: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_TYPE, header::CONTENT_LANGUAGE];

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// The headers of `from` that go up. What encodings the client takes, the other server may use.
pub(super) fn up(from: &HeaderMap, with_body: bool) -> HeaderMap {
    let mut to = HeaderMap::new();
    pick(from, &mut to, &UP);
    pick(from, &mut to, &[header::ACCEPT_ENCODING]);
    to.entry(header::ACCEPT_ENCODING).or_insert(IDENTITY);
    if with_body {
        pick(from, &mut to, &UP_BODY);
    }
    to
}

/// [`up`] for an answer that may have to be read here: only encodings that both the client and this server know.
pub(super) fn up_readable(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::new();
    pick(from, &mut to, &UP);
    to.insert(header::ACCEPT_ENCODING, if takes_gzip(from) { GZIP } else { IDENTITY });
    to
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let refused = weight.trim().trim_start_matches("q=").parse() == Ok(0.0);
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// The headers of an answer that come down, those about its body among them.
pub(super) fn down(from: &HeaderMap) -> HeaderMap {
    let mut to = down_without_body(from);
    for name in DOWN_BODY {
        if let Some(value) = from.get(&name) {
            to.insert(name, value.clone());
        }
    }
    to
}

/// The headers of an answer that come down although its body does not.
pub(super) fn down_without_body(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::new();
    pick(from, &mut to, &DOWN);
    to
}

fn pick(from: &HeaderMap, to: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        for value in from.get_all(name) {
            to.append(name.clone(), value.clone());
        }
    }
}

/// Says whether the body is not JSON; without a type it may be.
pub(super) fn is_surely_not_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let subtype = kind.to_ascii_lowercase();
    !(subtype == "application/json" || (subtype.starts_with("application/") && subtype.ends_with("+json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn only_what_is_listed_crosses() {
        let mut from = with("cookie", "secret");
        from.insert("authorization", HeaderValue::from_static("Bearer session"));
        from.insert("x-forwarded-for", HeaderValue::from_static("1.2.3.4"));
        from.insert("content-type", HeaderValue::from_static("application/json"));
        from.insert("x-bsky-topics", HeaderValue::from_static("a"));
        from.insert("set-cookie", HeaderValue::from_static("b"));
        assert_eq!(up(&from, false).len(), 2, "topics, and that no encoding is taken");
        assert_eq!(up(&from, true).get("content-type").unwrap(), "application/json");
        assert_eq!(down(&from).len(), 1);
        assert!(down_without_body(&from).is_empty());
    }

    #[test]
    fn answers_to_be_read_come_in_gzip_or_plain() {
        for (accepted, sent) in [
            ("gzip, br", "gzip"),
            ("br, GZIP;q=0.5", "gzip"),
            ("gzip;q=0, br", "identity"),
            ("br", "identity"),
        ] {
            assert_eq!(
                up_readable(&with("accept-encoding", accepted))["accept-encoding"],
                sent,
                "{accepted}"
            );
        }
        assert_eq!(up(&with("accept-encoding", "br, zstd"), false)["accept-encoding"], "br, zstd");
    }

    #[test]
    fn json_is_known_by_its_type() {
        for (kind, not) in [
            ("application/json; charset=utf-8", false),
            ("application/ld+json", false),
            ("text/html", true),
            ("application/octet-stream", true),
        ] {
            assert_eq!(is_surely_not_json(&with("content-type", kind)), not, "{kind}");
        }
        assert!(!is_surely_not_json(&HeaderMap::new()));
    }
}
