//! HTTP/1.1 over one kept-open connection, as light as it can be: the driver must not be what is measured.
//!
//! For servers on this machine only: no TLS, no redirects, no proxies. One request at a time per connection.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// Longest wait for any part of an answer. The slowest request of a benchmark is the import of 100,000 records, to which
/// the reference says nothing for minutes; a server that is silent for longer hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(900);

/// Bytes asked from the socket at once: large enough that an export costs few system calls.
const READ_BYTES: usize = 256 * 1024;

/// Longest accepted head of an answer, in bytes; real ones are below 2 KiB.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A connection to a server, and the answer that was read last.
#[derive(Debug)]
pub struct Http {
    address: String,
    stream: TcpStream,
    /// Bytes received and not yet used.
    pending: Vec<u8>,
    scratch: Vec<u8>,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: &'a [u8],
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Http {
    /// Connects to `address` (`host:port`).
    pub fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).context("cannot set a read timeout")?;
        let scratch = vec![0; READ_BYTES];
        Ok(Self { address: address.to_owned(), stream, pending: Vec::new(), scratch, body: Vec::new() })
    }

    /// The bytes of a request, to be sent as often as wanted. `path` begins with `/`; a body is `(type, bytes)`.
    #[must_use]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<(&str, &[u8])>,
    ) -> Vec<u8> {
        let authorization = token.map(|token| format!("Bearer {token}"));
        self.request_with(method, path, authorization.as_deref(), body)
    }

    /// As [`Http::request`], with the whole value of the header `authorization`.
    #[must_use]
    pub fn request_with(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        body: Option<(&str, &[u8])>,
    ) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        if let Some(authorization) = authorization {
            head.push_str(&format!("authorization: {authorization}\r\n"));
        }
        if let Some((kind, bytes)) = body {
            head.push_str(&format!("content-type: {kind}\r\ncontent-length: {}\r\n", bytes.len()));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body.map_or(&[], |(_, bytes)| bytes));
        request
    }

    /// Sends a request and reads its whole answer.
    ///
    /// Fails when the connection breaks, when nothing comes for [`ANSWER_TIMEOUT`], and on anything that is not HTTP/1.1.
    pub fn send(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).context("cannot send a request")?;
        let (status, framing) = self.head()?;
        self.body.clear();
        match framing {
            Framing::Length(length) => self.take(length)?,
            Framing::Chunked => loop {
                let line = self.line()?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let length = usize::from_str_radix(digits, 16).context("a chunk without a length")?;
                self.take(length)?;
                if !self.line()?.is_empty() {
                    bail!("a chunk longer than it said");
                }
                if length == 0 {
                    break;
                }
            },
            Framing::UntilClose => {
                while self.fill()? > 0 {}
                self.body.append(&mut self.pending);
            }
        }
        Ok(Answer { status, body: &self.body })
    }

    /// Asks for an upgrade of the connection and returns what the server sends until `enough` says so.
    ///
    /// The bytes are those after the head of the answer, websocket framing included.
    pub fn upgrade(mut self, path: &str, enough: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        self.stream.write_all(head.as_bytes()).context("cannot send a request")?;
        let (status, _) = self.head()?;
        if status != 101 {
            bail!("{path}: no upgrade, status {status}");
        }
        while !enough(&self.pending) {
            if self.fill()? == 0 {
                bail!("{path}: closed after {} bytes", self.pending.len());
            }
        }
        Ok(self.pending)
    }

    /// Reads the head of an answer.
    fn head(&mut self) -> Result<(u16, Framing)> {
        let status_line = self.line()?;
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next());
        let status: u16 =
            status.and_then(|code| code.parse().ok()).with_context(|| format!("{status_line:?}"))?;
        let mut framing =
            if status == 204 || status < 200 { Framing::Length(0) } else { Framing::UntilClose };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, framing));
            }
            let Some((name, value)) = line.split_once(':') else {
                bail!("a header without a colon: {line:?}")
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                framing = Framing::Length(value.parse().context("a content-length that is no number")?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
            {
                framing = Framing::Chunked;
            }
        }
    }

    /// Takes one line from what was received, without its end.
    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.pending.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.pending.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).context("a header that is no UTF-8");
            }
            if self.pending.len() > HEAD_BYTES_MAX {
                bail!("a line of more than {HEAD_BYTES_MAX} bytes");
            }
            if self.fill()? == 0 {
                bail!("the server closed the connection");
            }
        }
    }

    /// Moves `length` bytes of the answer to the body.
    fn take(&mut self, length: usize) -> Result<()> {
        let mut missing = length;
        while missing > 0 {
            if self.pending.is_empty() && self.fill()? == 0 {
                bail!("the server closed the connection {missing} bytes before the end");
            }
            let now = missing.min(self.pending.len());
            self.body.extend(self.pending.drain(..now));
            missing -= now;
        }
        Ok(())
    }

    /// Reads once from the socket; 0 at its end.
    fn fill(&mut self) -> Result<usize> {
        let read = self.stream.read(&mut self.scratch).context("no answer")?;
        self.pending.extend_from_slice(self.scratch.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener};

    use super::Http;

    /// Serves `answers` on one connection, one per request head that arrives.
    fn serve(answers: Vec<&'static str>) -> (String, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
                    seen.extend_from_slice(&byte);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (address, server)
    }

    #[test]
    fn reads_bodies_of_every_framing_on_one_connection() {
        let (address, server) = serve(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\n\r\nto the end",
        ]);
        let mut http = Http::connect(&address).unwrap();
        let request = http.request("GET", "/", None, None);
        for (status, body) in [(200, &b"abc"[..]), (200, b"abcde"), (204, b""), (503, b"to the end")] {
            let answer = http.send(&request).unwrap();
            assert_eq!((answer.status, answer.body), (status, body));
        }
        server.join().unwrap();
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        for broken in
            ["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\n"]
        {
            let (address, server) = serve(vec![broken]);
            let mut http = Http::connect(&address).unwrap();
            let request = http.request("GET", "/", None, None);
            assert!(http.send(&request).is_err(), "{broken}");
            server.join().unwrap();
        }
    }
}
