//! Asks DNS for TXT records: whom a handle stands for, who publishes a lexicon.
//!
//! It gives the records' texts and does not know what they mean. Answers are not kept here: whoever asks knows how long
//! his are good. DNS is not signed for us, so that what it says counts only when the DID named there agrees.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
};
use platform::time::Clock;
use tokio::sync::Semaphore;

/// How long a name server may take to answer one try: a second for each of two lost packets.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Further tries after the first.
const MORE_TRIES: usize = 1;
/// How long one question may take with all its tries and servers; the caller waits within his own request, whose limit
/// is 10 s.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(8);
/// Questions at once. Strangers can cause them; more wait.
const QUESTIONS_MAX: usize = 16;
/// How long the system's list of name servers is kept, nanoseconds (1 minute): a box that moves to another network
/// finds the new ones soon.
const SETTINGS_LIFE_NS: u64 = 60 * 1_000_000_000;
/// Longest name that DNS knows, characters (RFC 1035 with the trailing dot left off).
const NAME_CHARS_MAX: usize = 253;
/// Records of one answer that are looked at; a name has one or two of use.
const RECORDS_MAX: usize = 64;
/// Longest text that is given, bytes: a DID of 2,048 after a word. Longer ones are overlooked.
const TEXT_BYTES_MAX: usize = 2_176;

/// Says why a question to DNS has no answer. That there are no records is an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The system names no name server.
    #[error("no name server is known")]
    NoServer(#[source] Box<NetError>),
    /// The servers did not answer, or said that they cannot.
    #[error("the name servers gave no answer")]
    NoAnswer(#[source] Box<NetError>),
    /// It took too long.
    #[error("the name servers did not answer in time")]
    Timeout,
    /// This server is ending.
    #[error("this server is ending")]
    Ending,
}

/// Asks the name servers that were given, or those of the system.
#[derive(Debug)]
pub(super) struct TxtLookup {
    servers: Vec<SocketAddr>,
    clock: Clock,
    /// With when it was made, by the clock of this boot in nanoseconds.
    resolver: Mutex<Option<(u64, TokioResolver)>>,
    places: Semaphore,
}

impl TxtLookup {
    /// Prepares to ask `servers`; none means those of the system.
    pub(super) fn new(servers: Vec<SocketAddr>, clock: Clock) -> Self {
        Self { servers, clock, resolver: Mutex::new(None), places: Semaphore::new(QUESTIONS_MAX) }
    }

    /// Gives the texts of a name's TXT records, each joined from its parts; empty when there are none.
    ///
    /// # Errors
    /// [`DnsError`] when that cannot be found out now.
    pub(super) async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        if name.len() > NAME_CHARS_MAX {
            return Ok(Vec::new());
        }
        let _place = self.places.acquire().await.map_err(|_| DnsError::Ending)?;
        let resolver = self.resolver()?;
        // With the dot at the end the system's search domains are left alone.
        let asked = tokio::time::timeout(QUESTION_TIMEOUT, resolver.txt_lookup(format!("{name}."))).await;
        let found = match asked.map_err(|_| DnsError::Timeout)? {
            Ok(found) => found,
            Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
            Err(error) => return Err(DnsError::NoAnswer(Box::new(error))),
        };
        let texts = found.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(txt) => text(&txt.txt_data),
            _ => None,
        });
        Ok(texts.take(RECORDS_MAX).collect())
    }

    fn resolver(&self) -> Result<TokioResolver, DnsError> {
        let now_ns = self.clock.boottime_ns();
        let mut kept = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at_ns, resolver)) = kept.as_ref()
            && now_ns.saturating_sub(*at_ns) < SETTINGS_LIFE_NS
        {
            return Ok(resolver.clone());
        }
        let resolver = build(&self.servers).map_err(|error| DnsError::NoServer(Box::new(error)))?;
        *kept = Some((now_ns, resolver.clone()));
        Ok(resolver)
    }
}

fn build(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let config = ResolverConfig::from_name_servers(servers.iter().map(name_server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = TRY_TIMEOUT;
    options.attempts = MORE_TRIES;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    server
}

fn text(parts: &[Box<[u8]>]) -> Option<String> {
    let bytes = parts.concat();
    if bytes.len() > TEXT_BYTES_MAX { None } else { String::from_utf8(bytes).ok() }
}
