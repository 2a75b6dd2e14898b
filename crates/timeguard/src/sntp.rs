//! One question to one address by SNTP (RFC 4330, RFC 5905), and the checks of its answer.
//!
//! The packets and most checks are `sntpc`'s. What it leaves to its user is here: a transmit timestamp that says
//! nothing about our clock and cannot be guessed, a connected socket, our own times of sending and receiving by
//! CLOCK_BOOTTIME, the limits of the root distance, and the server's time between its two stamps.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use platform::time::BootClock;
use sntpc::{KissOfDeathCode, NtpContext, NtpTimestampGenerator, NtpUdpSocket, SendRequestResult};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::era::ntp_to_unix_us;
use crate::policy::{Kiss, Leap, Sample};

/// How long an answer is awaited: a longer round trip would be too wide to vote.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// Datagrams that may arrive on one socket and not be the answer (forged, late) before it is given up.
const STRAYS_MAX: u32 = 16;

/// Bytes of an answer that are looked at; what follows is extensions and a key's digest, which nobody asked for.
const PACKET_BYTES: usize = 48;

/// Root delay and root dispersion at which a server is no longer believed, in the packet's unit of 2^-16 s: 1 s
/// (RFC 4330 section 5, item 7).
const ROOT_MAX: u32 = 1 << 16;

/// How much longer than the round trip a server may claim to have kept the question, microseconds: the two clocks may
/// run differently in those seconds.
const HELD_SLACK_US: u64 = 1_000;

/// Largest exponent of a server's precision: 2^-1 s. Beyond it no two answers could be compared.
const PRECISION_MAX: i8 = -1;

/// Why an address gave no time.
#[derive(Debug, thiserror::Error)]
pub enum SntpError {
    /// The socket cannot be made, or the network says that nobody is there.
    #[error("cannot exchange datagrams with the time server")]
    Exchange(#[source] std::io::Error),
    /// The system gives no random numbers.
    #[error("no random numbers for the question")]
    Random,
    /// Nothing came in time.
    #[error("the time server did not answer within {} s", ANSWER_WAIT.as_secs())]
    Silent,
    /// It asks to be left alone, or asked more rarely.
    #[error("the time server refuses: {0:?}")]
    Kiss(Kiss),
    /// The answer breaks a rule of RFC 4330 section 5 or RFC 5905 section A.5.1.1.
    #[error("the answer of the time server is wrong: {0}")]
    Wrong(&'static str),
    /// Not the answer to this question: somebody else's, forged, or late. The wait goes on.
    #[error("a datagram that is no answer to the question")]
    Stray,
}

/// Asks one address once, and gives what it says when every check passes. `pivot_us` tells the NTP era: any UTC that
/// is less than 68 years from the truth, microseconds.
///
/// # Errors
/// [`SntpError`]; the address may be asked again but after [`Kiss::Leave`].
pub async fn ask(address: SocketAddr, boot: &dyn BootClock, pivot_us: i64) -> Result<Sample, SntpError> {
    let question = Question::new().await?;
    let here: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Connected: the kernel then drops what comes from elsewhere, and reports a closed port at once.
    let socket = UdpSocket::bind(here).await.map_err(SntpError::Exchange)?;
    socket.connect(address).await.map_err(SntpError::Exchange)?;
    let sent_ns = boot.boottime_ns();
    socket.send(&question.bytes).await.map_err(SntpError::Exchange)?;
    let answer = async {
        for _ in 0..STRAYS_MAX {
            let mut bytes = [0; PACKET_BYTES];
            let len = socket.recv(&mut bytes).await.map_err(SntpError::Exchange)?;
            let received_ns = boot.boottime_ns();
            let got = bytes.get(..len).unwrap_or(&bytes);
            match question.judge(got, sent_ns, received_ns, pivot_us).await {
                Err(SntpError::Stray) => {}
                judged => return judged,
            }
        }
        Err(SntpError::Stray)
    };
    timeout(ANSWER_WAIT, answer).await.unwrap_or(Err(SntpError::Silent))
}

/// A question as it is sent, and what its answer must repeat.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) bytes: Vec<u8>,
    sent: SendRequestResult,
}

impl Question {
    /// Makes a question whose transmit timestamp is random: 32 bits of seconds and 20 of microseconds. At a cold boot
    /// the clock could be guessed, and with it the one number that an answer must repeat.
    pub(crate) async fn new() -> Result<Self, SntpError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| SntpError::Random)?;
        let bits = u64::from_le_bytes(random);
        let stamp = Stamp { second: bits >> 32, microsecond: bits.to_le_bytes() };
        let outgoing = Outgoing::default();
        let sent = sntpc::sntp_send_request(NOBODY, &outgoing, NtpContext::new(stamp))
            .await
            .map_err(|_| SntpError::Wrong("no question"))?;
        let bytes = outgoing.bytes.into_inner().ok_or(SntpError::Wrong("no question"))?;
        Ok(Self { bytes, sent })
    }

    /// Checks an answer and measures it.
    pub(crate) async fn judge(
        &self,
        bytes: &[u8],
        sent_ns: u64,
        received_ns: u64,
        pivot_us: i64,
    ) -> Result<Sample, SntpError> {
        // The pivot keeps `sntpc`'s own era arithmetic away from the random stamp; its result of it is not used.
        let second = u64::try_from(pivot_us / 1_000_000).unwrap_or_default();
        let context = NtpContext::new(Stamp { second, microsecond: [0; 8] });
        let checked = sntpc::sntp_process_response(NOBODY, &Incoming(bytes), context, self.sent).await;
        let checked = checked.map_err(wrong)?;
        // What `sntpc` lets pass: it takes older versions, any root delay under 32 s, and an empty receive time.
        let version = bytes.first().map(|first| (first >> 3) & 0b111);
        if version != Some(VERSION) {
            return Err(SntpError::Wrong("it is of another version than the question"));
        }
        if checked.root_delay() >= ROOT_MAX || checked.root_dispersion() >= ROOT_MAX {
            return Err(SntpError::Wrong("its root distance is a second or more"));
        }
        if checked.precision() > PRECISION_MAX {
            return Err(SntpError::Wrong("it counts in whole seconds"));
        }
        let (arrived, left) = (stamp_at(bytes, RECEIVE_AT)?, stamp_at(bytes, TRANSMIT_AT)?);
        if arrived == 0 {
            return Err(SntpError::Wrong("it has no receive time"));
        }
        let Ok(held) = u64::try_from(left.wrapping_sub(arrived).cast_signed()) else {
            return Err(SntpError::Wrong("it left before the question arrived"));
        };
        let held_us = fixed_to_us(held);
        let trip_ns = received_ns.saturating_sub(sent_ns);
        let trip_us = trip_ns.div_ceil(1_000);
        if held_us > trip_us.saturating_add(HELD_SLACK_US) {
            return Err(SntpError::Wrong("it was held for longer than the round trip took"));
        }
        let delay_us = trip_us.saturating_sub(held_us);
        let root_us = short_to_us(checked.root_delay()) / 2 + short_to_us(checked.root_dispersion());
        let unix_us = ntp_to_unix_us(arrived, pivot_us).saturating_add_unsigned(held_us / 2);
        Ok(Sample {
            boottime_ns: sent_ns.saturating_add(trip_ns / 2),
            unix_us,
            // Halves and stamps are rounded: two microseconds cover them.
            error_us: (delay_us / 2 + root_us + precision_us(checked.precision())).saturating_add(2),
            leap: Leap::from_bits(checked.leap_indicator()),
        })
    }
}

/// The version that we speak and that an answer must repeat.
const VERSION: u8 = 4;

/// Where the receive and transmit timestamps stand in a packet (RFC 5905 section 7.3), bytes.
const RECEIVE_AT: usize = 32;
const TRANSMIT_AT: usize = 40;

/// The address that `sntpc` compares; the connected socket has compared the real one already.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

fn stamp_at(bytes: &[u8], at: usize) -> Result<u64, SntpError> {
    let stamp = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    stamp.map(|stamp| u64::from_be_bytes(*stamp)).ok_or(SntpError::Stray)
}

/// Gives what the error of `sntpc` means here.
fn wrong(error: sntpc::Error) -> SntpError {
    use sntpc::Error;
    match error {
        Error::IncorrectOriginTimestamp | Error::IncorrectPayload => SntpError::Stray,
        Error::KissOfDeath(KissOfDeathCode::Deny | KissOfDeathCode::Rstr) => SntpError::Kiss(Kiss::Leave),
        Error::KissOfDeath(KissOfDeathCode::Rate) => SntpError::Kiss(Kiss::Slower),
        Error::KissOfDeath(_) => SntpError::Wrong("it gives a reason instead of the time"),
        Error::IncorrectMode => SntpError::Wrong("it is not of a server"),
        Error::UnsynchronizedClock => SntpError::Wrong("the server has no time itself"),
        Error::InvalidTimestamp => SntpError::Wrong("it has no transmit time"),
        Error::ExcessiveRootDistance => SntpError::Wrong("its root distance is a second or more"),
        Error::BackwardReferenceTimestamp => SntpError::Wrong("it was set in its own future"),
        Error::IncorrectResponseVersion => SntpError::Wrong("it is of another version than the question"),
        Error::IncorrectStratumHeaders => SntpError::Wrong("its stratum is impossible"),
        _ => SntpError::Wrong("it cannot be read"),
    }
}

/// 2^-32 s to microseconds.
fn fixed_to_us(fixed: u64) -> u64 {
    u64::try_from((u128::from(fixed) * 1_000_000) >> 32).unwrap_or(u64::MAX)
}

/// 2^-16 s to microseconds, rounded up.
fn short_to_us(short: u32) -> u64 {
    (u64::from(short) * 1_000_000).div_ceil(1 << 16)
}

/// What a server can tell apart, 2^precision s, in microseconds; at most half a second.
fn precision_us(precision: i8) -> u64 {
    1_000_000_u64 >> precision.unsigned_abs().min(63)
}

/// The time that `sntpc` puts into a packet, or takes for the era.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    second: u64,
    /// Random bits, of which microseconds are made.
    microsecond: [u8; 8],
}

impl NtpTimestampGenerator for Stamp {
    fn init(&mut self) {}

    fn timestamp_sec(&self) -> u64 {
        self.second
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        let [low, middle, high, ..] = self.microsecond;
        u32::from_le_bytes([low, middle, high, 0]) % 1_000_000
    }
}

/// Catches the question that `sntpc` builds.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: OnceLock<Vec<u8>>,
}

impl NtpUdpSocket for Outgoing {
    async fn send_to(&self, buf: &[u8], _addr: SocketAddr) -> sntpc::Result<usize> {
        self.bytes.set(buf.to_vec()).map_err(|_| sntpc::Error::Network)?;
        Ok(buf.len())
    }

    async fn recv_from(&self, _buf: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        Err(sntpc::Error::Network)
    }
}

/// Hands `sntpc` an answer that has come.
#[derive(Debug)]
struct Incoming<'a>(&'a [u8]);

impl NtpUdpSocket for Incoming<'_> {
    async fn send_to(&self, _buf: &[u8], _addr: SocketAddr) -> sntpc::Result<usize> {
        Err(sntpc::Error::Network)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        let len = self.0.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), self.0.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok((len, NOBODY))
    }
}

#[cfg(test)]
mod tests;
