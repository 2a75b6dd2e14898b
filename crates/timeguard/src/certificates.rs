//! Certificates of well-known hosts as evidence about the date.
//!
//! Two independent hosts that prove by TLS that they hold the keys of certificates which chain to the web's roots tell
//! that the date lies where both are valid. The chain, the name and the handshake are checked in full; only the
//! question "valid now?" is turned round: instead of comparing with a time that is not known, the span of validity is
//! taken out. No request is sent; the connection ends with the handshake.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::names::host_and_port;
use crate::policy::CertificateWindow;

/// The port of HTTPS: every host has it open.
const HTTPS_PORT: u16 = 443;

/// How long one host may take in all: trust within 10 s must be reached without those that hang.
const HOST_WAIT: Duration = Duration::from_secs(6);

/// How long the others are awaited once two hosts agree: with three, one whose certificate has expired does no harm.
const OTHERS_WAIT: Duration = Duration::from_secs(1);

/// How long one address of a host may take to accept a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 3;

/// Bytes that a host may send before the handshake is done. Chains take 3 to 6 KiB; what sends more is up to something.
const HANDSHAKE_BYTES_MAX: u64 = 32 * 1024;

/// Largest file of own roots, bytes.
const ROOTS_BYTES_MAX: u64 = 64 * 1024;

/// Times at which a chain is looked at to find its span: each certificate of a chain may shorten it once at each end.
const LOOKS_MAX: u32 = 12;

/// Where the search for the end of a span begins: 9999-12-31T23:59:59Z, the latest that a certificate can say
/// (RFC 5280 section 4.1.2.5).
const LAST_SECOND: u64 = 253_402_300_799;

/// Why a host gives no evidence.
#[derive(Debug, thiserror::Error)]
pub enum CertificateEvidenceError {
    /// The own roots cannot be read.
    #[error("cannot read the roots in {}", path.display())]
    ReadRoots {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The own roots hold no certificate that can be a root.
    #[error("{} holds no root certificates in PEM", path.display())]
    ParseRoots {
        /// The file.
        path: PathBuf,
    },
    /// The TLS client cannot be set up.
    #[error("cannot set up TLS")]
    SetUp(#[source] rustls::Error),
    /// The roots cannot be used.
    #[error("cannot use the roots")]
    Roots(#[source] rustls::client::VerifierBuilderError),
    /// No address of the host accepts a connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// The host.
        host: String,
    },
    /// The handshake failed: the chain, the name, the proof of the key, or the line.
    #[error("{host} gives no proof")]
    Handshake {
        /// The host.
        host: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{host} takes more than {} s", HOST_WAIT.as_secs())]
    Slow {
        /// The host.
        host: String,
    },
}

/// Whose certificates are looked at.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// Names, with a port where it is not 443; two at least, of different owners.
    pub names: Vec<String>,
    /// Own roots in the place of the web's, a file in PEM.
    pub roots: Option<PathBuf>,
}

impl Hosts {
    /// Asks all hosts at once, and gives where the certificates of two are valid; `None` when fewer than two give
    /// proof, or when no date suits two.
    pub async fn window(&self) -> Option<CertificateWindow> {
        let setup = match self.setup() {
            Ok(setup) => Arc::new(setup),
            Err(error) => {
                tracing::error!(error = %chain(&error), "no certificates can be checked");
                return None;
            }
        };
        let mut asked = JoinSet::new();
        for host in &self.names {
            let (setup, host) = (setup.clone(), host.clone());
            asked.spawn(async move {
                let proof = timeout(HOST_WAIT, proof(&setup, &host)).await;
                proof.unwrap_or_else(|_| Err(CertificateEvidenceError::Slow { host }))
            });
        }
        let mut proofs: Vec<Proof> = Vec::new();
        loop {
            let enough = span_of_two(&proofs).is_some();
            let done = tokio::select! {
                done = asked.join_next() => done,
                () = sleep(OTHERS_WAIT), if enough => break,
            };
            match done {
                Some(Ok(Ok(proof))) => {
                    // One certificate for two names is one owner.
                    if proofs.iter().all(|other| other.certificate != proof.certificate) {
                        proofs.push(proof);
                    }
                }
                Some(Ok(Err(error))) => tracing::info!(error = %chain(&error), "no certificate as evidence"),
                Some(Err(error)) => tracing::error!(%error, "a look at a certificate ended early"),
                None => break,
            }
        }
        span_of_two(&proofs)
    }

    /// Sets TLS up anew for each look, so that the roots take memory only while they are needed.
    fn setup(&self) -> Result<Setup, CertificateEvidenceError> {
        let roots = match &self.roots {
            Some(path) => own_roots(path)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        Ok(Setup { provider, chains: chains.build().map_err(CertificateEvidenceError::Roots)? })
    }
}

fn own_roots(path: &std::path::Path) -> Result<RootCertStore, CertificateEvidenceError> {
    use std::io::Read;
    let mut pem = Vec::new();
    let fill = |pem: &mut Vec<u8>| std::fs::File::open(path)?.take(ROOTS_BYTES_MAX).read_to_end(pem);
    fill(&mut pem).map_err(|source| CertificateEvidenceError::ReadRoots { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if added == 0 {
        return Err(CertificateEvidenceError::ParseRoots { path: path.to_owned() });
    }
    Ok(roots)
}

/// What all looks of one round share.
#[derive(Debug)]
struct Setup {
    provider: Arc<CryptoProvider>,
    chains: Arc<WebPkiServerVerifier>,
}

/// What one host has proven.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proof {
    certificate: Vec<u8>,
    span: Span,
}

/// UTC in which a chain is valid, seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from_s: u64,
    to_s: u64,
}

/// Gives from where to where the certificates of at least two hosts are valid: the second start and the second last
/// end. One host alone, expired or with a wrong clock behind its certificate, moves neither beyond another's.
fn span_of_two(proofs: &[Proof]) -> Option<CertificateWindow> {
    let mut starts: Vec<u64> = proofs.iter().map(|proof| proof.span.from_s).collect();
    let mut ends: Vec<u64> = proofs.iter().map(|proof| proof.span.to_s).collect();
    starts.sort_unstable();
    ends.sort_unstable_by(|one, other| other.cmp(one));
    let (from_s, to_s) = (*starts.get(1)?, *ends.get(1)?);
    let us = |second: u64| i64::try_from(second).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    (from_s <= to_s).then(|| CertificateWindow {
        not_before_us: us(from_s),
        not_after_us: us(to_s).saturating_add(999_999),
    })
}

/// Makes a handshake with a host, and gives its proof.
async fn proof(setup: &Setup, host: &str) -> Result<Proof, CertificateEvidenceError> {
    let unreachable = || CertificateEvidenceError::Connect { host: host.to_owned() };
    let (name, port) = host_and_port(host, HTTPS_PORT).ok_or_else(unreachable)?;
    let server_name = ServerName::try_from(name.clone()).map_err(|_| unreachable())?;
    let verifier = Arc::new(AgelessVerifier { chains: setup.chains.clone(), seen: Mutex::new(None) });
    let mut config = ClientConfig::builder_with_details(setup.provider.clone(), Arc::new(NoTime))
        .with_safe_default_protocol_versions()
        .map_err(CertificateEvidenceError::SetUp)?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let stream = connect(&name, port).await.ok_or_else(unreachable)?;
    let (read, write) = stream.into_split();
    let bounded = tokio::io::join(read.take(HANDSHAKE_BYTES_MAX), write);
    // The handshake ends only when the host has signed our random numbers with the certificate's key.
    let connected = TlsConnector::from(Arc::new(config)).connect(server_name, bounded).await;
    drop(connected.map_err(|source| CertificateEvidenceError::Handshake { host: host.to_owned(), source })?);
    let seen = verifier.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    seen.ok_or_else(unreachable)
}

async fn connect(name: &str, port: u16) -> Option<TcpStream> {
    let addresses = tokio::net::lookup_host((name, port)).await.ok()?;
    for address in addresses.take(ADDRESSES_MAX) {
        if let Ok(Ok(stream)) = timeout(CONNECT_WAIT, TcpStream::connect(address)).await {
            return Some(stream);
        }
    }
    None
}

/// Checks chain and name as the web does, at whatever time they are valid, and keeps that span.
#[derive(Debug)]
struct AgelessVerifier {
    chains: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<Proof>>,
}

impl ServerCertVerifier for AgelessVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let span = span_of(|at| {
            let verify = self.chains.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                UnixTime::since_unix_epoch(Duration::from_secs(at)),
            );
            verify.map(|_| ())
        })?;
        let proof = Proof { certificate: end_entity.to_vec(), span };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(proof);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Finds where a check passes, by asking it at ever later starts and ever earlier ends: what is not valid yet, or no
/// longer, says since or until when it is. Any other failure is final.
fn span_of(check: impl Fn(u64) -> Result<(), rustls::Error>) -> Result<Span, rustls::Error> {
    let mut from_s = 0;
    let mut looks = 0..LOOKS_MAX;
    loop {
        match check(from_s) {
            Ok(()) => break,
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) if not_before.as_secs() > from_s && looks.next().is_some() => from_s = not_before.as_secs(),
            Err(error) => return Err(error),
        }
    }
    let mut to_s = LAST_SECOND;
    loop {
        match check(to_s) {
            Ok(()) => return Ok(Span { from_s, to_s }),
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) if not_after.as_secs() < to_s && looks.next().is_some() => to_s = not_after.as_secs(),
            Err(error) => return Err(error),
        }
    }
}

/// TLS wants a clock for the checks that we make ourselves, and for sessions that we never resume.
#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}

/// Writes an error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
