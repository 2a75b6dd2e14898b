//! A directory of identities that believes everything: the PDS hands in an operation and hears that it was taken.
//!
//! On loopback of the host, where the guest's emulated network reaches it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::TestbedError;

/// Largest operation that is read, bytes; the protocol allows 4,000.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Starts the directory and gives its port. It serves as long as the process lives.
///
/// # Errors
/// When no port can be had.
pub fn serve() -> Result<u16, TestbedError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    });
    let (listener, port) = bound.map_err(TestbedError::talk("start a directory of identities"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is the PDS's to repeat.
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    Ok(port)
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if input.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut body = 0_u64;
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut input.by_ref().take(body.min(BODY_BYTES_MAX)), &mut std::io::sink())?;
        // It remembers nothing, so it knows nobody; but whatever is handed in is taken.
        let (status, text) = if request.starts_with("POST ") {
            ("200 OK", "{}")
        } else {
            ("404 Not Found", "{\"message\":\"unknown\"}")
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        out.write_all(format!("{head}{text}").as_bytes())?;
    }
}
