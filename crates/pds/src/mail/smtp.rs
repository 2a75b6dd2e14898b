//! One conversation with a mail server. The connection and its TLS are made here, so that certificates are judged by
//! our time; lettre speaks SMTP over it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use lettre::{
    Message,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, AsyncTokioStream},
        extension::ClientId,
    },
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    MailError,
    server::{MailServer, Safety},
};

/// How long one address of the server may take to answer. A name often has an IPv6 address that goes nowhere; the next
/// one must still have its turn within the mail's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// Longest line that is read before TLS, bytes (RFC 5321 section 4.5.3.1.5 asks for 512).
const LINE_BYTES_MAX: usize = 1024;

/// Most lines of one answer that is read before TLS: servers list some twenty extensions.
const LINES_MAX: usize = 64;

/// The answer that lettre waits for at the start of a connection.
const READY: &[u8] = b"220 ready\r\n";

/// Connects, signs in, hands the message over if there is one, and takes leave.
pub(super) async fn talk(
    server: &MailServer,
    tls: Arc<ClientConfig>,
    hostname: &str,
    message: Option<&Message>,
) -> Result<(), MailError> {
    let host = || server.host().to_owned();
    let name = client_id(hostname);
    let stream = connect(server, tls, &name).await?;
    let talk = |source: SmtpError| MailError::Talk { host: host(), source: source.into() };
    let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &name).await.map_err(talk)?;
    if let Some((user, password)) = server.login() {
        let credentials = Credentials::new(user.to_owned(), password.expose().to_owned());
        let signed_in = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
        signed_in.map_err(|source| match source.is_permanent() || source.is_client() {
            true => MailError::Login { host: host(), source },
            false => talk(source),
        })?;
    }
    if let Some(message) = message {
        let sent = connection.send(message.envelope(), &message.formatted()).await;
        sent.map_err(|source| match source.is_permanent() || source.is_transient() || source.is_client() {
            true => MailError::Refused { host: host(), source },
            false => talk(source),
        })?;
    }
    // The mail is taken; a server that then ends impolitely changes nothing.
    if let Err(e) = connection.quit().await {
        tracing::debug!("the mail server ended the connection by itself: {e}");
    }
    Ok(())
}

fn client_id(hostname: &str) -> ClientId {
    ClientId::Domain(hostname.to_owned())
}

async fn connect(
    server: &MailServer,
    tls: Arc<ClientConfig>,
    name: &ClientId,
) -> Result<Box<dyn AsyncTokioStream>, MailError> {
    let mut stream = open(server).await?;
    let host = || server.host().to_owned();
    match server.safety() {
        Safety::Tls => {
            let stream = encrypt(server, tls, stream).await?;
            Ok(Box::new(Safe { greeting: &[], stream }))
        }
        Safety::StartTls | Safety::StartTlsIfOffered => {
            let offered = greet(&mut stream, name)
                .await
                .map_err(|source| MailError::Talk { host: host(), source: source.into() })?;
            match (offered, server.safety()) {
                (true, _) => {
                    start_tls(&mut stream)
                        .await
                        .map_err(|source| MailError::Talk { host: host(), source: source.into() })?;
                    let stream = encrypt(server, tls, stream).await?;
                    Ok(Box::new(Safe { greeting: READY, stream }))
                }
                (false, Safety::StartTlsIfOffered) => Ok(Box::new(Bare { greeting: READY, stream })),
                (false, _) => Err(MailError::NoStartTls { host: host() }),
            }
        }
    }
}

/// Connects to the first of the server's addresses that answers.
async fn open(server: &MailServer) -> Result<TcpStream, MailError> {
    let failed = |source| MailError::Connect { host: server.host().to_owned(), port: server.port(), source };
    let found = tokio::net::lookup_host((server.host(), server.port())).await.map_err(failed)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in found {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => last = e,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed(last))
}

async fn encrypt(
    server: &MailServer,
    tls: Arc<ClientConfig>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, MailError> {
    let failed = |source| MailError::Tls { host: server.host().to_owned(), source };
    let name = ServerName::try_from(server.host().to_owned())
        .map_err(|_| failed(io::Error::other("the host is no name that a certificate could have")))?;
    TlsConnector::from(tls).connect(name, stream).await.map_err(failed)
}

/// Reads the greeting and the server's extensions; tells whether STARTTLS is among them.
async fn greet(stream: &mut TcpStream, name: &ClientId) -> io::Result<bool> {
    expect(stream, "220").await?;
    stream.write_all(format!("EHLO {name}\r\n").as_bytes()).await?;
    let extensions = expect(stream, "250").await?;
    Ok(extensions.iter().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")))
}

/// Asks for TLS. Nothing that comes behind the answer in the clear is ever read as an answer (RFC 3207 section 5).
async fn start_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"STARTTLS\r\n").await?;
    expect(stream, "220").await.map(|_| ())
}

/// Reads one answer with this code; gives its lines without code.
async fn expect(stream: &mut TcpStream, code: &str) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    while lines.len() < LINES_MAX {
        let line = read_line(stream).await?;
        let Some(rest) = line.strip_prefix(code) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the server says: {line}")));
        };
        let last = !rest.starts_with('-');
        lines.push(rest.get(1..).unwrap_or_default().to_owned());
        if last {
            return Ok(lines);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the server's answer has no end"))
}

/// Reads a line byte by byte, so that nothing beyond its end is taken from the connection.
async fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        let byte = stream.read_u8().await?;
        if byte == b'\n' {
            return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        if line.len() == LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the server's line has no end"));
        }
        line.push(byte);
    }
}

/// A connection that repeats the greeting, which was read before lettre saw the connection.
#[derive(Debug)]
struct Greeted<S> {
    /// What is still to be read of it.
    greeting: &'static [u8],
    stream: S,
}

type Safe = Greeted<TlsStream<TcpStream>>;
type Bare = Greeted<TcpStream>;

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(buf.remaining()));
        buf.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Safe {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}

impl AsyncTokioStream for Bare {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}
