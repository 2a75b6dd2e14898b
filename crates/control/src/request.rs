//! Requests between our processes: a closed set, as length-limited JSON on a stream.
//!
//! A frame is the length of its JSON as four bytes, highest first, and the JSON. Peer checks belong to whoever
//! accepts the socket.

use std::io::{Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest JSON of a frame, bytes: the longest request takes under 100, replies carry a sentence.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// What one process may ask of another. Unknown requests and unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// To the guard: the owner confirmed this time with the button (the candidate it asked about, UTC
    /// microseconds; another is refused).
    AcceptTime {
        /// The candidate that the owner saw.
        unix_us: u64,
    },
    /// To the guard: the network came up or changed; all servers are asked at once.
    NetworkUp,
    /// To the guard: the time servers that the network's DHCP names (option 42), the whole list each time. They have
    /// one vote together.
    TimeServers {
        /// Names or addresses; an empty list when the network names none.
        servers: Vec<String>,
    },
    /// To the supervisor: restart the machine.
    Restart,
    /// To the supervisor: switch the machine off.
    PowerOff,
    /// To the supervisor: show a one-time code after a press of the button.
    OfferCode {
        /// What the code does; one of `platform::codes::PURPOSES`.
        purpose: String,
        /// The account's handle.
        account: String,
        /// The code.
        code: String,
    },
    /// To the supervisor: do what cannot be undone, after the owner has proven to be there.
    Ask {
        /// What is to be done.
        deed: Deed,
    },
    /// To the supervisor: here is the proof for what was asked.
    Prove {
        /// What was asked.
        deed: Deed,
        /// The code that the screen shows, or the one-time secret.
        given: String,
    },
}

/// What is done only when its owner has proven to stand before the box, or to hold its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Erase all accounts, posts and keys.
    FactoryReset,
    /// Restart the box.
    Restart,
    /// Switch the box off.
    PowerOff,
}

impl Deed {
    /// Gives the words that follow "the box is asked to".
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            Self::FactoryReset => "ERASE ALL ACCOUNTS",
            Self::Restart => "restart",
            Self::PowerOff => "switch itself off",
        }
    }
}

/// A way to prove that the owner wants a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Holding the button while the screen names the deed.
    Button,
    /// The code that the screen shows for this deed.
    Code,
    /// The one-time secret of `perch.toml`.
    Secret,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// It is done, or begun.
    Done,
    /// It waits for one of these.
    Proofs {
        /// The ways.
        ways: Vec<Proof>,
    },
    /// It is not done.
    Refused {
        /// Why, and what to do.
        why: String,
    },
}

/// Why a frame could not be sent or received. The stream is of no use afterwards.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed or ended inside a frame.
    #[error("the stream of requests broke")]
    Stream(#[source] std::io::Error),
    /// A frame is announced or built that is longer than allowed.
    #[error("a frame of {len} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// Its length, bytes.
        len: u64,
    },
    /// The JSON is not of the expected form.
    #[error("a frame does not hold what is expected")]
    Form(#[source] serde_json::Error),
}

/// Sends one frame.
///
/// # Errors
/// [`FrameError`]; nothing was sent when it is `TooLong` or `Form`.
pub fn send(stream: &mut impl Write, value: &impl Serialize) -> Result<(), FrameError> {
    let json = serde_json::to_vec(value).map_err(FrameError::Form)?;
    let len = u32::try_from(json.len()).unwrap_or(u32::MAX);
    if len > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { len: u64::from(len) });
    }
    stream.write_all(&len.to_be_bytes()).map_err(FrameError::Stream)?;
    stream.write_all(&json).map_err(FrameError::Stream)?;
    stream.flush().map_err(FrameError::Stream)
}

/// Receives one frame; `None` when the stream ended between frames. The caller sets a time limit on the stream.
///
/// # Errors
/// [`FrameError`]; a length over the limit is refused before anything is allocated.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0_u8; 4];
    let got = stream.read(&mut length).map_err(FrameError::Stream)?;
    if got == 0 {
        return Ok(None);
    }
    let rest = length.get_mut(got..).unwrap_or_default();
    stream.read_exact(rest).map_err(FrameError::Stream)?;
    let len = u32::from_be_bytes(length);
    if len > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { len: u64::from(len) });
    }
    let mut json = Vec::new();
    let got = stream.take(u64::from(len)).read_to_end(&mut json).map_err(FrameError::Stream)?;
    if u32::try_from(got) != Ok(len) {
        return Err(FrameError::Stream(std::io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&json).map(Some).map_err(FrameError::Form)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_arrive_in_order_and_the_end_is_seen() {
        let mut wire = Vec::new();
        send(&mut wire, &Request::AcceptTime { unix_us: 7 }).unwrap();
        send(&mut wire, &Request::Restart).unwrap();
        let mut stream = wire.as_slice();
        assert_eq!(receive(&mut stream).unwrap(), Some(Request::AcceptTime { unix_us: 7 }));
        assert_eq!(receive(&mut stream).unwrap(), Some(Request::Restart));
        assert_eq!(receive::<Request>(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_long_frame_is_refused_by_its_length_alone() {
        let mut stream = [0xff, 0xff, 0xff, 0xff].as_slice();
        assert!(matches!(receive::<Request>(&mut stream), Err(FrameError::TooLong { len: 0xffff_ffff })));
        let long = Reply::Refused { why: "x".repeat(20_000) };
        assert!(matches!(send(&mut Vec::new(), &long), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn an_unknown_request_is_refused() {
        for json in ["\"format-disk\"", "{\"accept-time\":{\"unix_us\":1,\"force\":true}}", "{}", "null"] {
            let mut wire = Vec::from(u32::try_from(json.len()).unwrap().to_be_bytes());
            wire.extend_from_slice(json.as_bytes());
            assert!(matches!(receive::<Request>(&mut wire.as_slice()), Err(FrameError::Form(_))), "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hold_much(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Only that it returns counts here.
            drop(receive::<Request>(&mut wire.as_slice()));
        }

        #[test]
        fn a_cut_frame_is_never_a_request(cut in 1_usize..30) {
            let mut wire = Vec::new();
            send(&mut wire, &Request::AcceptTime { unix_us: 1_795_401_296_789_000 }).unwrap();
            let cut = cut.min(wire.len() - 1);
            prop_assert!(receive::<Request>(&mut &wire[..cut]).is_err());
        }
    }
}
