//! Whom a call is passed on to: the server that the call names, or the one that is set for such methods.

use atproto::syntax::Did;
use axum::http::{HeaderMap, HeaderName};
use reqwest::Url;

use crate::{
    app::App,
    config::{Config, Service},
    error::XrpcError,
    identity::IdentityError,
    outbound::{self, Reach},
    store_error::chain,
};

/// The header by which a call names a server: `did#service`.
const PROXY: HeaderName = HeaderName::from_static("atproto-proxy");
/// What an AppView is called in its DID document.
const APPVIEW: &str = "bsky_appview";

/// A server that calls can be passed on to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Scheme, host and port.
    origin: Url,
    /// Its DID, the audience of tokens for it.
    pub(crate) did: String,
    /// How far it may be away: only the owner may name servers of the home network.
    pub(crate) reach: Reach,
}

/// What a call asks for, before anybody else is asked where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// A server of the settings.
    Configured(&'a Service),
    /// A service in a DID's document.
    Named {
        /// Whose document.
        did: &'a str,
        /// The service's name in it, without `#`.
        service: &'a str,
    },
}

/// Reads the call's own wish, if it has one.
///
/// # Errors
/// 400 when the header has not the form `did#service`.
pub(crate) fn named(headers: &HeaderMap) -> Result<Option<(&str, &str)>, XrpcError> {
    let Some(value) = headers.get(PROXY).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().map_err(|_| XrpcError::invalid_request("invalid proxy header format"))?;
    let refuse = |why: &'static str| Err(XrpcError::invalid_request(why));
    match text.split_once('#') {
        Some(("", _)) => refuse("no did specified in proxy header"),
        None | Some((_, "")) => refuse("no service id specified in proxy header"),
        Some((_, service)) if service.contains('#') => refuse("invalid proxy header format"),
        Some(_) if text.contains(' ') => refuse("proxy header cannot contain spaces"),
        Some(parts) => Ok(Some(parts)),
    }
}

/// Finds out what a call asks for.
///
/// # Errors
/// 400 for a malformed header, and when nothing is set for such methods.
pub(crate) fn wanted<'a>(
    config: &'a Config,
    headers: &'a HeaderMap,
    method: &str,
) -> Result<Wanted<'a>, XrpcError> {
    if let Some((did, service)) = named(headers)? {
        let appview = config.appview.as_ref().filter(|ours| ours.did == did && service == APPVIEW);
        return Ok(appview.map_or(Wanted::Named { did, service }, Wanted::Configured));
    }
    let service = match method {
        "com.atproto.moderation.createReport" => &config.report_service,
        _ if method.starts_with("tools.ozone.") => &config.moderation_service,
        _ => &config.appview,
    };
    let none = || XrpcError::invalid_request(format!("No service configured for {method}"));
    service.as_ref().map(Wanted::Configured).ok_or_else(none)
}

/// Says whether a call names another AppView than this server's own, which then is to answer instead of this server.
///
/// # Errors
/// As [`named`].
pub(crate) fn is_for_another(config: &Config, headers: &HeaderMap) -> Result<bool, XrpcError> {
    let ours = config.appview.as_ref().map(|appview| appview.did.as_str());
    Ok(named(headers)?
        .is_some_and(|(did, service)| service != APPVIEW || ours.is_some_and(|ours| ours != did)))
}

/// Says whether nobody else is to answer: the call names no server and there is no AppView.
///
/// # Errors
/// As [`named`].
pub(crate) fn is_alone(config: &Config, headers: &HeaderMap) -> Result<bool, XrpcError> {
    Ok(named(headers)?.is_none() && config.appview.is_none())
}

/// Finds out where it is.
///
/// # Errors
/// 400 when the DID or its document says nothing usable, 502 when the document cannot be had.
pub(crate) async fn find(app: &App, wanted: Wanted<'_>) -> Result<Target, XrpcError> {
    match wanted {
        Wanted::Configured(service) => configured(service),
        Wanted::Named { did, service } => {
            let unknown = || XrpcError::invalid_request("could not resolve proxy did");
            let did = Did::parse(did).map_err(|e| unknown().because(e))?;
            let document = app.identity.document(&did).await.map_err(|e| unresolved(&e, unknown()))?;
            let endpoint = document.endpoint(service, None);
            let target = endpoint.and_then(|endpoint| foreign(app, &did, endpoint));
            target.ok_or_else(|| XrpcError::invalid_request("could not resolve proxy did service url"))
        }
    }
}

/// A server of the settings.
///
/// # Errors
/// 500 when its URL is none.
pub(crate) fn configured(service: &Service) -> Result<Target, XrpcError> {
    let origin = Url::parse(&service.url).map_err(XrpcError::internal)?;
    Ok(Target { origin, did: service.did.clone(), reach: Reach::Configured })
}

/// A server that a DID document names, if it may be asked.
pub(crate) fn foreign(app: &App, did: &Did, endpoint: &str) -> Option<Target> {
    let origin = Url::parse(endpoint).ok()?;
    // Methods are at the root of a host; what else an address may hold has no meaning here.
    let bare = origin.path() == "/" && origin.query().is_none() && origin.fragment().is_none();
    let reach = if app.config.dev_mode { Reach::Configured } else { Reach::Public };
    let allowed = app.config.dev_mode || outbound::may_reach(&origin);
    (bare && allowed).then(|| Target { origin, did: did.to_string(), reach })
}

/// What is said about a document that cannot be had: `unknown` if it surely does not exist.
pub(crate) fn unresolved(err: &IdentityError, unknown: XrpcError) -> XrpcError {
    if err.is_not_found() || matches!(err, IdentityError::Method | IdentityError::Host) {
        unknown.because(chain(err))
    } else {
        XrpcError::upstream("The service's DID document cannot be had now", chain(err))
    }
}

impl Target {
    /// Gives the address of a path with its query.
    ///
    /// # Errors
    /// 400 when they make no address.
    pub(crate) fn url(&self, path_and_query: &str) -> Result<Url, XrpcError> {
        let text = format!("{}{path_and_query}", self.origin.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|e| XrpcError::invalid_request("invalid xrpc path").because(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(PROXY, value.parse().unwrap())])
    }

    fn config() -> Config {
        let mut config = Config::local("/nowhere".into(), 1, "http://localhost:2".to_owned());
        config.appview = Some(Service {
            url: "https://api.example.com".to_owned(),
            did: "did:web:api.example.com".to_owned(),
        });
        config
    }

    #[test]
    fn header_has_one_did_and_one_service() {
        assert_eq!(named(&HeaderMap::new()).unwrap(), None);
        assert_eq!(named(&headers("")).unwrap(), None);
        assert_eq!(named(&headers("did:web:x#y")).unwrap(), Some(("did:web:x", "y")));
        for bad in ["#y", "did:web:x", "did:web:x#", "did:web:x#y#z", "did:web:x #y", "did:web:x#y z", "#"] {
            assert_eq!(named(&headers(bad)).unwrap_err().name(), "InvalidRequest", "{bad}");
        }
    }

    #[test]
    fn methods_have_their_default_service() {
        let mut config = config();
        let none = HeaderMap::new();
        let appview = Wanted::Configured(config.appview.as_ref().unwrap());
        assert_eq!(wanted(&config, &none, "app.bsky.feed.searchPosts").unwrap(), appview);
        for method in ["com.atproto.moderation.createReport", "tools.ozone.moderation.emitEvent"] {
            let refused = wanted(&config, &none, method).unwrap_err();
            assert_eq!(refused.message(), format!("No service configured for {method}"));
        }
        let service =
            |did: &str| Some(Service { url: "https://mod.example.com".to_owned(), did: did.to_owned() });
        config.report_service = service("did:web:reports");
        config.moderation_service = service("did:web:moderation");
        for (method, did) in [
            ("com.atproto.moderation.createReport", "did:web:reports"),
            ("tools.ozone.moderation.emitEvent", "did:web:moderation"),
        ] {
            let Wanted::Configured(found) = wanted(&config, &none, method).unwrap() else {
                panic!("{method}")
            };
            assert_eq!(found.did, did);
        }
    }

    #[test]
    fn own_appview_is_known_by_name_and_others_are_looked_up() {
        let config = config();
        let ours = headers("did:web:api.example.com#bsky_appview");
        assert!(matches!(wanted(&config, &ours, "a.b.c").unwrap(), Wanted::Configured(_)));
        assert!(!is_for_another(&config, &ours).unwrap());
        for other in ["did:web:api.example.com#other", "did:web:other.example.com#bsky_appview"] {
            let other = headers(other);
            assert!(matches!(wanted(&config, &other, "a.b.c").unwrap(), Wanted::Named { .. }));
            assert!(is_for_another(&config, &other).unwrap());
        }
    }
}
