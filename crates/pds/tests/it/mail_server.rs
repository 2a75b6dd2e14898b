//! A small mail server on loopback: it takes mails and keeps them, offers STARTTLS and sign-in, refuses or falls silent
//! when told to. It speaks real SMTP (RFC 5321, 3207, 4954) to whoever connects.

use std::sync::Arc;

use data_encoding::BASE64;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// Accepts the connection and never says a word.
    pub(crate) silent: bool,
    /// Takes no user name and password.
    pub(crate) refuses_login: bool,
    /// Takes no recipient.
    pub(crate) refuses_recipient: bool,
    /// Offers STARTTLS with this.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) to: String,
    /// User name and password of the sign-in, parted by a zero byte.
    pub(crate) login: Option<String>,
    pub(crate) encrypted: bool,
    /// Headers and text.
    pub(crate) data: String,
}

impl Taken {
    /// The one-time code in the text.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let is_code =
            |word: &&str| word.len() == 11 && word.as_bytes()[5] == b'-' && word.to_uppercase() == **word;
        self.data
            .split_whitespace()
            .find(is_code)
            .unwrap_or_else(|| panic!("no code in {}", self.data))
            .to_owned()
    }
}

/// The running server.
#[derive(Debug)]
pub(crate) struct MailServer {
    pub(crate) port: u16,
    taken: watch::Receiver<Vec<Taken>>,
    _tasks: JoinSet<()>,
}

impl MailServer {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, taken) = watch::channel(Vec::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut conversations = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                conversations.spawn(converse(stream, manner.clone(), sender.clone()));
            }
        });
        Self { port, taken, _tasks: tasks }
    }

    /// Waits until so many mails have come; gives the last.
    pub(crate) async fn wait(&mut self, count: usize) -> Taken {
        let patience = std::time::Duration::from_secs(60);
        let waited = tokio::time::timeout(patience, self.taken.wait_for(|taken| taken.len() >= count)).await;
        waited.expect("in time").unwrap().last().unwrap().clone()
    }

    /// How many mails have come so far.
    pub(crate) fn count(&self) -> usize {
        self.taken.borrow().len()
    }
}

async fn converse(mut stream: TcpStream, manner: Manner, taken: watch::Sender<Vec<Taken>>) {
    if manner.silent {
        std::future::pending::<()>().await;
    }
    // A client that goes away in the middle ends its conversation only.
    let Ok(()) = stream.write_all(b"220 sink ready\r\n").await else { return };
    if let Ok(true) = session(&mut stream, &manner, &taken, false).await
        && let Some(tls) = &manner.tls
        && let Ok(mut stream) = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await
    {
        drop(session(&mut stream, &manner, &taken, true).await);
    }
}

/// Speaks until the client leaves; true when it asks for TLS.
async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    manner: &Manner,
    taken: &watch::Sender<Vec<Taken>>,
    encrypted: bool,
) -> std::io::Result<bool> {
    let mut stream = BufReader::new(stream);
    let (mut to, mut login) = (String::new(), None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let verb = line.split([' ', '\r']).next().unwrap_or_default().to_uppercase();
        let offers_tls = manner.tls.is_some() && !encrypted;
        let answer = match verb.as_str() {
            "EHLO" if offers_tls => "250-sink\r\n250-8BITMIME\r\n250 STARTTLS\r\n",
            "EHLO" => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n",
            "STARTTLS" if offers_tls => {
                stream.write_all(b"220 go ahead\r\n").await?;
                return Ok(true);
            }
            "AUTH" if manner.refuses_login => "535 5.7.8 wrong user name or password\r\n",
            "AUTH" => {
                let bytes = BASE64.decode(line.split_whitespace().nth(2).unwrap().as_bytes()).unwrap();
                login = Some(String::from_utf8(bytes).unwrap().trim_start_matches('\0').to_owned());
                "235 welcome\r\n"
            }
            "RCPT" if manner.refuses_recipient => "550 5.1.1 nobody of that name\r\n",
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                "250 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut data = String::new();
                while !data.ends_with("\r\n.\r\n") && stream.read_line(&mut data).await? > 0 {}
                let mail = Taken { to: to.clone(), login: login.clone(), encrypted, data };
                taken.send_modify(|taken| taken.push(mail));
                "250 taken\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(false);
            }
            _ => "250 ok\r\n",
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}
