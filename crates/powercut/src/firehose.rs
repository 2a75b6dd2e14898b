//! A subscriber of the firehose: notes each event the moment it comes.
//!
//! The server side of a websocket as RFC 6455 has it, no more: whole binary messages, pings that are answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use atproto::event::{Frame, decode_frame};
use bytes::Bytes;

use crate::session::Notes;

/// Longest wait for a byte. Pings come more often.
const SILENCE: Duration = Duration::from_secs(120);

/// Largest message, bytes: events are smaller by far.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

const OPCODE_BINARY: u8 = 2;
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;

/// Takes all events from the first on and notes them, until the connection ends.
///
/// # Errors
/// When the connection is no websocket, or breaks, which is how it ends when the machine is switched off.
pub fn follow(address: &str, notes: &Arc<Notes>) -> Result<()> {
    let stream = TcpStream::connect(address).context("subscribing")?;
    stream.set_read_timeout(Some(SILENCE)).context("subscribing")?;
    let mut out = stream.try_clone().context("subscribing")?;
    let mut input = BufReader::new(stream);
    let request = format!(
        "GET /xrpc/com.atproto.sync.subscribeRepos?cursor=0 HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    out.write_all(request.as_bytes()).context("subscribing")?;
    let mut line = String::new();
    input.read_line(&mut line).context("subscribing")?;
    if !line.starts_with("HTTP/1.1 101") {
        bail!("no subscription: {}", line.trim());
    }
    while line.trim() != "" {
        line.clear();
        input.read_line(&mut line).context("subscribing")?;
    }
    loop {
        let (opcode, message) = message(&mut input)?;
        match opcode {
            OPCODE_BINARY => note(notes, message)?,
            OPCODE_PING => pong(&mut out, &message).context("answering a ping")?,
            OPCODE_CLOSE => return Ok(()),
            _ => {}
        }
    }
}

fn message(input: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    input.read_exact(&mut head).context("the firehose ended")?;
    let [first, second] = head;
    if first & 0x80 == 0 || second & 0x80 != 0 {
        bail!("a message in parts, or masked");
    }
    let len = match second {
        126 => {
            let mut len = [0; 2];
            input.read_exact(&mut len).context("the firehose ended")?;
            u64::from(u16::from_be_bytes(len))
        }
        127 => {
            let mut len = [0; 8];
            input.read_exact(&mut len).context("the firehose ended")?;
            u64::from_be_bytes(len)
        }
        len => u64::from(len),
    };
    if len > MESSAGE_BYTES_MAX {
        bail!("a message of {len} bytes");
    }
    let mut content = Vec::new();
    let read = input.take(len).read_to_end(&mut content).context("the firehose ended")?;
    if u64::try_from(read).unwrap_or(u64::MAX) != len {
        bail!("the firehose ended within a message");
    }
    Ok((first & 0x0f, content))
}

/// Answers a ping with its own bytes, under a mask of zeros.
fn pong(out: &mut impl Write, content: &[u8]) -> std::io::Result<()> {
    // Control messages have at most 125 bytes.
    let len = u8::try_from(content.len().min(125)).unwrap_or(0);
    let mut bytes = vec![0x8a, 0x80 | len, 0, 0, 0, 0];
    bytes.extend(content.iter().take(usize::from(len)));
    out.write_all(&bytes)
}

fn note(notes: &Notes, message: Vec<u8>) -> Result<()> {
    let frame = Bytes::from(message);
    let decoded = decode_frame(&frame).context("an event that cannot be read")?;
    match decoded {
        Frame::Commit { seq, event, .. } => notes.event(seq, frame, Some((event.did, event.rev))),
        Frame::Sync { seq, .. } | Frame::Identity { seq, .. } | Frame::Account { seq, .. } => {
            notes.event(seq, frame, None);
        }
        Frame::Info { name, .. } => bail!("the firehose says {name}"),
        Frame::Error { error, .. } => bail!("the firehose fails: {error}"),
        Frame::Unknown { kind } => bail!("an event of an unknown kind: {kind}"),
    }
    Ok(())
}
