//! Who the panel answers to: its own names, and its own pages.
//!
//! A web page anywhere can make a visitor's browser ask `http://192.168.1.20:8080/`, and by DNS rebinding under a name
//! of its own choosing even read the answer. The browser always tells the name in `Host` and the asking page in
//! `Origin` or `Sec-Fetch-Site`; both are checked here, before any handler runs. Pure functions over header text.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, header};
use control::SystemStatus;

/// The names that always mean this computer.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// HTTP/1.1 demands exactly one `Host`.
    #[error("the request names no host")]
    NoHost,
    /// The name is none of the panel's.
    #[error("this status page answers only to its own names and addresses; open it by one of them")]
    ForeignHost,
    /// A page of another origin sent a form or a script's request here.
    #[error("only the panel's own pages may do this")]
    ForeignOrigin,
}

/// The names that the panel answers to.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    allowed: BTreeSet<String>,
}

impl Names {
    /// Allows loopback and `more`: names or addresses without port, IPv6 in brackets.
    pub(crate) fn new(more: impl IntoIterator<Item = String>) -> Self {
        let allowed =
            LOOPBACK.into_iter().map(str::to_owned).chain(more).map(|name| name.to_ascii_lowercase());
        Self { allowed: allowed.collect() }
    }

    /// Checks the `Host` of a request. `own` are the box's names now.
    pub(crate) fn check_host(&self, headers: &HeaderMap, own: &[String]) -> Result<(), Refusal> {
        let host = host(headers)?;
        let name = without_port(host).to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        let is_own = self.allowed.contains(name) || own.iter().any(|own| own == name);
        if is_own { Ok(()) } else { Err(Refusal::ForeignHost) }
    }
}

/// The box's own names and addresses as its supervisor tells them now, in lower case, IPv6 in brackets: its host name, the
/// same under `.local` (RFC 6762), and every address. Nobody else can have these names on the home network.
pub(crate) fn own_names(system: &SystemStatus) -> Vec<String> {
    let hostname = system.hostname.to_ascii_lowercase();
    let mut names: Vec<String> = system
        .addresses
        .iter()
        .map(|address| if address.contains(':') { format!("[{address}]") } else { address.clone() })
        .collect();
    if !hostname.is_empty() {
        names.push(format!("{hostname}.local"));
        names.push(hostname);
    }
    names
}

/// Checks that a request which changes something comes from a page of this very origin.
///
/// A request without `Origin` is no browser's form or script (browsers send it with every POST) and is let through:
/// it comes from a program on this network, which could forge the header anyway.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("cross-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(Refusal::ForeignOrigin);
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let own = host(headers)?;
    let bare = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if bare.is_some_and(|bare| bare.eq_ignore_ascii_case(own)) { Ok(()) } else { Err(Refusal::ForeignOrigin) }
}

fn host(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut all = headers.get_all(header::HOST).iter();
    match (all.next(), all.next()) {
        (Some(host), None) => host.to_str().map_err(|_| Refusal::NoHost),
        _ => Err(Refusal::NoHost),
    }
}

/// Cuts `:8080` off; the colons within the brackets of an IPv6 address stay.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn answers_to_its_own_names_with_any_port() {
        let names = Names::new(["Perch.local".to_owned(), "192.168.1.20".to_owned()]);
        for host in [
            "localhost:8080",
            "127.0.0.1",
            "[::1]:8080",
            "[::1]",
            "perch.local",
            "PERCH.LOCAL.:80",
            "192.168.1.20:8080",
        ] {
            assert_eq!(names.check_host(&headers(&[("host", host)]), &[]), Ok(()), "{host}");
        }
    }

    #[test]
    fn answers_to_what_the_box_is_called_now_and_no_more_to_what_it_was_called() {
        let names = Names::new([]);
        let system = |addresses: &[&str]| SystemStatus {
            hostname: "Perch".to_owned(),
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            ..SystemStatus::default()
        };
        let before = own_names(&system(&["192.168.1.20", "2001:db8::7"]));
        let ask = |host: &str, own: &[String]| names.check_host(&headers(&[("host", host)]), own);
        for host in ["192.168.1.20:8080", "[2001:db8::7]:8080", "perch.local:8080", "PERCH:8080"] {
            assert_eq!(ask(host, &before), Ok(()), "{host}");
        }
        let after = own_names(&system(&["10.0.0.5"]));
        assert_eq!(ask("10.0.0.5:8080", &after), Ok(()));
        assert_eq!(ask("192.168.1.20:8080", &after), Err(Refusal::ForeignHost));
        assert_eq!(own_names(&SystemStatus::default()), Vec::<String>::new());
        assert_eq!(ask(".local", &before), Err(Refusal::ForeignHost));
    }

    #[test]
    fn turns_rebound_names_away() {
        let names = Names::new([]);
        for host in
            ["evil.example", "localhost.evil.example:8080", "127.0.0.1.nip.io", "192.168.1.20", "", ":8080"]
        {
            assert_eq!(
                names.check_host(&headers(&[("host", host)]), &[]),
                Err(Refusal::ForeignHost),
                "{host}"
            );
        }
        assert_eq!(names.check_host(&headers(&[]), &[]), Err(Refusal::NoHost));
        assert_eq!(
            names.check_host(&headers(&[("host", "localhost"), ("host", "evil")]), &[]),
            Err(Refusal::NoHost)
        );
    }

    #[test]
    fn only_its_own_pages_may_press_the_button() {
        let own = ("host", "localhost:8080");
        assert_eq!(check_origin(&headers(&[own, ("origin", "http://localhost:8080")])), Ok(()));
        assert_eq!(check_origin(&headers(&[own])), Ok(()));
        for origin in ["http://evil.example", "http://localhost:9999", "null", ""] {
            let refused = check_origin(&headers(&[own, ("origin", origin)]));
            assert_eq!(refused, Err(Refusal::ForeignOrigin), "{origin}");
        }
        let site = check_origin(&headers(&[own, ("sec-fetch-site", "cross-site")]));
        assert_eq!(site, Err(Refusal::ForeignOrigin));
    }
}
