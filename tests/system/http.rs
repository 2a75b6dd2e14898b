//! A plain HTTP/1.1 client of one request per connection, and a reader of WebSocket messages: enough to meet the
//! appliance with code that nobody shares with it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take before the story fails.
const WAIT: Duration = Duration::from_secs(20);

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The XRPC error name; empty if there is none.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The JSON of an answer that must be a success.
    pub(crate) fn expect_ok(&self) -> Value {
        assert_eq!(self.code, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// Asks the server on a port of loopback.
pub(crate) fn ask(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    read_answer(BufReader::new(send(port, method, path, headers, body)?))
}

/// Gets something over a very thin line: at 1 KiB/s until `thin`'s sender is dropped, then as fast as it comes.
pub(crate) fn get_slowly(port: u16, path: &str, thin: Receiver<()>) -> io::Result<Answer> {
    let stream = send(port, "GET", path, &[], b"")?;
    read_answer(BufReader::with_capacity(PACE_BYTES, Paced { stream, thin: Some(thin) }))
}

/// What a thin line carries in [`PACE`].
const PACE_BYTES: usize = 1024;
const PACE: Duration = Duration::from_secs(1);

/// A stream that is read at a pace.
struct Paced {
    stream: TcpStream,
    thin: Option<Receiver<()>>,
}

impl Read for Paced {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(thin) = &self.thin
            && thin.recv_timeout(PACE) == Err(RecvTimeoutError::Disconnected)
        {
            self.thin = None;
        }
        self.stream.read(into)
    }
}

fn read_answer(mut reader: impl BufRead) -> io::Result<Answer> {
    let (code, headers) = read_head(&mut reader)?;
    let mut answer = Answer { code, headers, body: Vec::new() };
    if answer.header("transfer-encoding").is_some_and(|value| value == "chunked") {
        read_chunks(&mut reader, &mut answer.body)?;
    } else if let Some(length) = answer.header("content-length").and_then(|value| value.parse().ok()) {
        answer.body.resize(length, 0);
        reader.read_exact(&mut answer.body)?;
    } else {
        reader.read_to_end(&mut answer.body)?;
    }
    Ok(answer)
}

fn send(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("host: localhost:{port}\r\n"));
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
        head.push_str("connection: close\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    Ok(stream)
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let first = read_line(reader)?;
    let code =
        first.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        let Some((name, value)) = line.split_once(':') else { return Ok((code, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(reader)?;
        let length = usize::from_str_radix(&line, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let at = body.len();
        body.resize(at + length, 0);
        reader.read_exact(&mut body[at..])?;
        read_line(reader)?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// A WebSocket of which only binary messages are read.
#[derive(Debug)]
pub(crate) struct Messages {
    reader: BufReader<TcpStream>,
}

impl Messages {
    pub(crate) fn open(port: u16, path: &str) -> io::Result<Self> {
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            // The sample nonce of RFC 6455; the answer to it is not checked here.
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut reader = BufReader::new(send(port, "GET", path, &headers, b"")?);
        let (code, _) = read_head(&mut reader)?;
        if code == 101 {
            Ok(Self { reader })
        } else {
            Err(io::Error::other(format!("upgrade answered {code}")))
        }
    }

    /// How long the next message may take.
    pub(crate) fn set_wait(&self, wait: Duration) {
        self.reader.get_ref().set_read_timeout(Some(wait)).unwrap();
    }

    /// Reads the next binary message; `None` when the server ends, falls silent or dies.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut head = [0; 2];
            self.reader.read_exact(&mut head).ok()?;
            let mut length = u64::from(head[1] & 0x7f);
            if length >= 126 {
                let mut bytes = [0; 8];
                let width = if length == 126 { 2 } else { 8 };
                self.reader.read_exact(&mut bytes[8 - width..]).ok()?;
                length = u64::from_be_bytes(bytes);
            }
            let mut message = vec![0; usize::try_from(length).unwrap()];
            self.reader.read_exact(&mut message).ok()?;
            match head[0] & 0x0f {
                2 => return Some(message),
                8 => return None,
                _ => {}
            }
        }
    }
}
