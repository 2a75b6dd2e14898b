//! Hosts of our own authority that are honest, expired, forged, under a wrong name, huge, slow or not there.

use std::path::Path;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Midnights, seconds since 1970.
const NOV_1: u64 = 1_793_491_200;
const NOV_10: u64 = 1_794_268_800;
const DEC_15: u64 = 1_797_292_800;
const DEC_30: u64 = 1_798_588_800;
const JAN_30: u64 = 1_801_267_200;
const OCT_15: u64 = 1_792_022_400;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates")
}

/// Hosts on loopback ports, alive as long as this is.
#[derive(Default)]
struct World {
    serving: JoinSet<()>,
    names: Vec<String>,
}

impl World {
    async fn listen(&mut self) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.names.push(listener.local_addr().unwrap().to_string());
        listener
    }

    /// A host that presents the certificate of this name.
    async fn host(mut self, certificate: &str) -> Self {
        let pem = std::fs::read(folder().join(format!("{certificate}.pem"))).unwrap();
        let chain = CertificateDer::pem_slice_iter(&pem).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&pem).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_details(provider, Arc::new(NoTime))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = self.listen().await;
        self.serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(acceptor.accept(stream).await);
            }
        });
        self
    }

    /// A host that sends without end what could be the start of a handshake.
    async fn huge(mut self) -> Self {
        let listener = self.listen().await;
        self.serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Handshake records with a message of 16 MiB announced in the first.
                let mut record = vec![22, 3, 3, 0x40, 0, 11, 0xff, 0xff, 0xff];
                record.resize(5 + 0x4000, 0);
                while stream.write_all(&record).await.is_ok() {}
            }
        });
        self
    }

    /// A host that accepts and says nothing.
    async fn slow(mut self) -> Self {
        let listener = self.listen().await;
        self.serving.spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        self
    }

    /// A host whose port is closed.
    async fn absent(mut self) -> Self {
        drop(self.listen().await);
        self
    }

    async fn window(&self) -> Option<(u64, u64)> {
        let roots = Some(folder().join("root.pem"));
        let window = Hosts { names: self.names.clone(), roots }.window().await?;
        let second = |us: i64| u64::try_from(us).unwrap() / 1_000_000;
        Some((second(window.not_before_us), second(window.not_after_us)))
    }
}

async fn window_of(certificates: &[&str]) -> Option<(u64, u64)> {
    let mut world = World::default();
    for certificate in certificates {
        world = world.host(certificate).await;
    }
    world.window().await
}

#[tokio::test]
async fn two_hosts_tell_where_both_are_valid() {
    assert_eq!(window_of(&["one", "two"]).await, Some((NOV_1, DEC_30)));
}

#[tokio::test]
async fn the_whole_chain_counts_and_not_the_host_alone() {
    assert_eq!(window_of(&["under-short", "three"]).await, Some((NOV_10, DEC_15)));
}

#[tokio::test]
async fn one_host_alone_is_no_evidence_and_neither_is_one_certificate_twice() {
    assert_eq!(window_of(&["one"]).await, None);
    assert_eq!(window_of(&["one", "one"]).await, None);
}

#[tokio::test]
async fn a_forged_certificate_and_one_of_another_name_are_no_evidence() {
    assert_eq!(window_of(&["one", "forged"]).await, None);
    assert_eq!(window_of(&["one", "other-name"]).await, None);
}

#[tokio::test]
async fn an_expired_or_future_host_beside_one_other_suits_no_date() {
    assert_eq!(window_of(&["one", "expired"]).await, None);
    assert_eq!(window_of(&["one", "future"]).await, None);
}

#[tokio::test]
async fn an_expired_host_beside_two_others_does_no_harm() {
    assert_eq!(window_of(&["expired", "one", "three"]).await.unwrap().1, DEC_30);
    // The second start is that of `three`, the second last end that of `two`.
    assert_eq!(window_of(&["one", "two", "three", "future"]).await, Some((OCT_15, JAN_30)));
}

#[tokio::test]
async fn hosts_that_flood_hang_or_are_not_there_do_not_keep_two_others_from_proving() {
    let world = World::default().huge().await.absent().await.slow().await;
    let world = world.host("one").await.host("two").await;
    let began = std::time::Instant::now();
    assert_eq!(world.window().await, Some((NOV_1, DEC_30)));
    assert!(began.elapsed() < HOST_WAIT, "the hanging one was waited for");
}

#[tokio::test]
async fn hosts_that_flood_or_are_not_there_are_no_evidence() {
    let world = World::default().huge().await.absent().await.host("one").await;
    assert_eq!(world.window().await, None);
}

#[tokio::test]
async fn without_usable_roots_there_is_no_evidence() {
    let world = World::default().host("one").await.host("two").await;
    for roots in ["missing.pem", "make.sh"] {
        let hosts = Hosts { names: world.names.clone(), roots: Some(folder().join(roots)) };
        assert_eq!(hosts.window().await, None, "{roots}");
    }
    let forger = Hosts { names: world.names.clone(), roots: Some(folder().join("forger.pem")) };
    assert_eq!(forger.window().await, None);
}

#[test]
fn the_roots_of_the_web_can_be_used() {
    assert!(Hosts { names: Vec::new(), roots: None }.setup().is_ok());
}

#[test]
fn a_span_is_found_from_what_a_chain_complains_about() {
    let time = |second| UnixTime::since_unix_epoch(Duration::from_secs(second));
    let spans = [(100, 900), (200, 1_000), (50, 800)];
    let check = |at: u64| {
        for (from, to) in spans {
            if at < from {
                let context = CertificateError::NotValidYetContext { time: time(at), not_before: time(from) };
                return Err(context.into());
            }
            if at > to {
                return Err(CertificateError::ExpiredContext { time: time(at), not_after: time(to) }.into());
            }
        }
        Ok(())
    };
    assert_eq!(span_of(check), Ok(Span { from_s: 200, to_s: 800 }));
    // Two certificates that are never valid together.
    let never = |at: u64| match at {
        0..500 => Err(CertificateError::NotValidYetContext { time: time(at), not_before: time(500) }.into()),
        _ => Err(rustls::Error::from(CertificateError::ExpiredContext {
            time: time(at),
            not_after: time(400),
        })),
    };
    assert!(span_of(never).is_err());
    // One that always finds another complaint is given up.
    let endless = |at: u64| {
        Err(CertificateError::NotValidYetContext { time: time(at), not_before: time(at + 1) }.into())
    };
    assert!(span_of(endless).is_err());
}
