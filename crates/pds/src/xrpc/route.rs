//! One XRPC method as the router and the documentation know it.

use axum::{
    Router,
    handler::Handler,
    middleware::map_response,
    routing::{MethodRouter, get, post},
};

use super::around;
use crate::{app::Shared, config::Config};

/// How a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By GET.
    Query,
    /// By POST.
    Procedure,
    /// By a WebSocket.
    Subscription,
}

/// A method that this server answers itself.
#[derive(Debug)]
pub(crate) struct Route {
    /// The method's name.
    pub(crate) nsid: &'static str,
    /// How it is called.
    #[allow(dead_code, reason = "told by the page that a test writes")]
    pub(crate) kind: Kind,
    /// Who may call it, in the words of `docs/xrpc.md`; empty for anyone.
    pub(crate) auth: &'static str,
    /// Where it differs from the reference, and why; empty for nowhere.
    #[allow(dead_code, reason = "told by the page that a test writes")]
    pub(crate) differs: &'static str,
    /// Whether these settings switch it on; off, it is as if it were not here.
    only_if: Option<fn(&Config) -> bool>,
    handler: MethodRouter<Shared>,
}

impl Route {
    /// A method that is called by GET.
    pub(crate) fn query<H: Handler<T, Shared>, T: 'static>(nsid: &'static str, handler: H) -> Self {
        Self { nsid, kind: Kind::Query, auth: "", differs: "", only_if: None, handler: get(handler) }
    }

    /// A method that is called by POST.
    pub(crate) fn procedure<H: Handler<T, Shared>, T: 'static>(nsid: &'static str, handler: H) -> Self {
        Self { nsid, kind: Kind::Procedure, auth: "", differs: "", only_if: None, handler: post(handler) }
    }

    /// A method that is called by a WebSocket.
    pub(crate) fn subscription<H: Handler<T, Shared>, T: 'static>(nsid: &'static str, handler: H) -> Self {
        Self { nsid, kind: Kind::Subscription, auth: "", differs: "", only_if: None, handler: get(handler) }
    }

    /// Says who may call it.
    pub(crate) fn auth(self, auth: &'static str) -> Self {
        Self { auth, ..self }
    }

    /// Says where it differs from the reference, and why.
    pub(crate) fn differs(self, differs: &'static str) -> Self {
        Self { differs, ..self }
    }

    /// Makes it depend on the settings.
    pub(crate) fn only_if(self, only_if: fn(&Config) -> bool) -> Self {
        Self { only_if: Some(only_if), ..self }
    }

    /// Whether it is switched on.
    pub(crate) fn is_on(&self, config: &Config) -> bool {
        self.only_if.is_none_or(|is_on| is_on(config))
    }

    /// Adds it to a router.
    pub(crate) fn add_to(self, router: Router<Shared>) -> Router<Shared> {
        let handler = if self.auth.is_empty() {
            self.handler
        } else {
            self.handler.layer(map_response(around::depends_on_caller))
        };
        router.route(&format!("/xrpc/{}", self.nsid), handler)
    }
}

/// An address that is no XRPC method.
#[derive(Debug)]
pub(crate) struct Plain {
    /// The path.
    pub(crate) address: &'static str,
    /// What is there, in the words of `docs/xrpc.md`.
    #[allow(dead_code, reason = "told by the page that a test writes")]
    pub(crate) what: &'static str,
    handler: MethodRouter<Shared>,
}

impl Plain {
    /// Names an address and what answers there.
    pub(crate) fn new(address: &'static str, what: &'static str, handler: MethodRouter<Shared>) -> Self {
        Self { address, what, handler }
    }

    /// Adds it to a router.
    pub(crate) fn add_to(self, router: Router<Shared>) -> Router<Shared> {
        router.route(self.address, self.handler)
    }
}
