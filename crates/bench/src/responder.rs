//! A server that does nothing but answer: what the driver can reach at most.
//!
//! A thread per connection, blocking, a fixed answer as long as that of `createRecord`.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use anyhow::{Context, Result};

/// A body like the answer to `createRecord`.
const BODY: &str = concat!(
    r#"{"uri":"at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3aaaaaaaaaaaa","#,
    r#""cid":"bafyreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","#,
    r#""commit":{"cid":"bafyreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","rev":"3aaaaaaaaaaaa"},"#,
    r#""validationStatus":"valid"}"#
);

/// Serves on a free port of loopback until the process ends; hands the address to `on_ready` first.
pub fn serve(on_ready: impl FnOnce(&str)) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    on_ready(&listener.local_addr().context("no address")?.to_string());
    for stream in listener.incoming() {
        let stream = stream.context("cannot accept a connection")?;
        // The thread ends with its connection; the process ends with the measurement.
        drop(std::thread::spawn(move || answer(stream)));
    }
    Ok(())
}

/// Answers every request on a connection until it is closed.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    let response = format!("{head}{}\r\n\r\n{BODY}", BODY.len());
    let (mut pending, mut scratch) = (Vec::new(), [0_u8; 16 * 1024]);
    loop {
        let read = stream.read(&mut scratch)?;
        if read == 0 {
            return Ok(());
        }
        pending.extend_from_slice(scratch.get(..read).unwrap_or_default());
        while let Some(length) = request_length(&pending) {
            pending.drain(..length);
            stream.write_all(response.as_bytes())?;
        }
    }
}

/// Bytes of the whole request at the start of `bytes`; `None` while some are missing.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(bytes.get(..head_end)?).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let total = head_end + length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    (bytes.len() >= total).then_some(total)
}
