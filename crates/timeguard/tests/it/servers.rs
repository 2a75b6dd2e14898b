//! Small real servers on loopback: a resolver, hosts with certificates, and the test machine's time servers.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use testbed::time_server::{Behaviour, TimeServer, Utc};

/// Serves time on port 123 of a loopback address until the test's process ends.
pub(crate) fn time_server(address: Ipv4Addr, utc: Utc, behaviour: Behaviour) {
    TimeServer::start((address, 123).into(), utc, behaviour).unwrap();
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
