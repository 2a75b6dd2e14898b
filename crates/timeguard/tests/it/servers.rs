//! Small real servers on loopback: time servers that behave as told, a resolver, and hosts with certificates.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How a time server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It is ahead of UTC by so many microseconds, and sends these leap bits.
    Time { ahead_us: i64, leap: u8 },
    /// As above, but every second question is not answered, and the answers jump between the truth and an hour.
    Flaps,
    /// It does not answer.
    Silent,
    /// It sends a kiss-o'-death.
    Kiss([u8; 4]),
}

/// The behaviour of a running server.
pub(crate) type Told = Arc<Mutex<Behaviour>>;

/// UTC as this machine has it, microseconds, without reading its clock twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utc {
    unix_us: i64,
    at: Instant,
}

impl Utc {
    pub(crate) fn new() -> Self {
        let date = std::process::Command::new("date").arg("+%s%6N").output().unwrap();
        let unix_us = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
        Self { unix_us, at: Instant::now() }
    }

    pub(crate) fn us(self) -> i64 {
        self.unix_us + i64::try_from(self.at.elapsed().as_micros()).unwrap()
    }
}

fn ntp(unix_us: i64) -> [u8; 8] {
    let wide = (i128::from(unix_us) << 32).div_euclid(1_000_000) + (2_208_988_800_i128 << 32);
    u64::try_from(wide.rem_euclid(1 << 64)).unwrap().to_be_bytes()
}

/// Serves time on port 123 of a loopback address until the test's process ends.
pub(crate) fn time_server(address: Ipv4Addr, utc: Utc, behaviour: Behaviour) -> Told {
    let told = Arc::new(Mutex::new(behaviour));
    let (socket, behaves) = (UdpSocket::bind((address, 123)).unwrap(), told.clone());
    thread::spawn(move || {
        let mut asked = 0_u32;
        let mut bytes = [0; 512];
        while let Ok((len, peer)) = socket.recv_from(&mut bytes) {
            asked += 1;
            if len < 48 {
                continue;
            }
            let behaviour = *behaves.lock().unwrap();
            let mut answer = [0; 48];
            answer[..4].copy_from_slice(&[(4 << 3) | 4, 1, 6, (-20_i8).cast_unsigned()]);
            answer[24..32].copy_from_slice(&bytes[40..48]);
            let mut ahead_us = 0;
            match behaviour {
                Behaviour::Silent => continue,
                Behaviour::Flaps if asked.is_multiple_of(2) => continue,
                Behaviour::Flaps => ahead_us = if asked % 4 == 1 { 0 } else { 3_600_000_000 },
                Behaviour::Kiss(code) => {
                    answer[0] |= 0b1100_0000;
                    answer[1] = 0;
                    answer[12..16].copy_from_slice(&code);
                }
                Behaviour::Time { ahead_us: told_us, leap } => {
                    answer[0] |= leap << 6;
                    ahead_us = told_us;
                }
            }
            let now_us = utc.us() + ahead_us;
            answer[16..24].copy_from_slice(&ntp(now_us - 1_000_000));
            answer[32..40].copy_from_slice(&ntp(now_us));
            answer[40..48].copy_from_slice(&ntp(utc.us() + ahead_us));
            drop(socket.send_to(&answer, peer));
        }
    });
    told
}

/// Names and where they lead.
pub(crate) type Zone = Arc<Mutex<HashMap<String, Ipv4Addr>>>;

/// Resolves names on port 53 of a loopback address; what is not in the zone does not exist.
pub(crate) fn resolver(address: Ipv4Addr) -> Zone {
    let zone = Zone::default();
    let (socket, names) = (UdpSocket::bind((address, 53)).unwrap(), zone.clone());
    thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((len, peer)) = socket.recv_from(&mut bytes) {
            if let Some(answer) = resolve(&bytes[..len], &names.lock().unwrap()) {
                drop(socket.send_to(&answer, peer));
            }
        }
    });
    zone
}

/// Answers one question (RFC 1035 section 4): an A record, or nothing of the sort.
fn resolve(question: &[u8], zone: &HashMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let len = usize::from(*question.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + len)?).to_lowercase());
        at += len;
    }
    let asks_a = question.get(at..at + 2)? == [0, 1];
    let found = zone.get(&labels.join("."));
    let address = found.filter(|_| asks_a);
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x81, if found.is_some() { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    answer.extend(question.get(12..at + 4)?);
    if let Some(address) = address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// Serves TLS with the certificate of this name until the test's process ends.
pub(crate) fn certificate_host(certificate: &str) -> SocketAddr {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    let pem = std::fs::read(folder.join(format!("{certificate}.pem"))).unwrap();
    let chain = CertificateDer::pem_slice_iter(&pem).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&pem).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            drop(stream.set_read_timeout(Some(Duration::from_secs(5))));
            let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        }
    });
    address
}
