//! What the shim and the world say to each other: six numbers either way, as `tests/clocks/shim.c` has them.

use std::io::{self, ErrorKind, Read, Write};

/// Bytes of a message.
const BYTES: usize = 48;

/// What the shim says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// How its clock stands.
    State(State),
    /// A question goes to the server at this address (192.0.2.1 is 0) at this true UTC, nanoseconds.
    Ask {
        /// When.
        true_ns: i64,
        /// Whom.
        address: usize,
    },
    /// The time is over.
    End,
}

/// How the simulated machine's clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// True UTC, nanoseconds.
    pub true_ns: i64,
    /// CLOCK_REALTIME, nanoseconds.
    pub real_ns: i64,
    /// The status bits of adjtimex.
    pub status: i64,
    /// Its maxerror, microseconds.
    pub max_error_us: u64,
}

/// What the world says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing comes.
    Silence,
    /// A server's answer comes.
    Time {
        /// So long after the question, nanoseconds.
        after_ns: i64,
        /// Its time, UTC nanoseconds.
        server_ns: i64,
        /// What it says about its distance to a reference, microseconds.
        root_distance_us: i64,
        /// Its leap indicator.
        leap: u8,
    },
}

/// What the shim is told first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// True UTC, nanoseconds.
    pub true_ns: i64,
    /// CLOCK_REALTIME minus that, nanoseconds.
    pub off_ns: i64,
    /// How fast the crystal runs off, parts per billion.
    pub drift_ppb: i64,
    /// How long the run is, nanoseconds.
    pub span_ns: i64,
    /// Fixes the program's chance.
    pub seed: u64,
}

/// Reads what the shim says; `None` when it has gone.
pub fn hear(from: &mut impl Read) -> io::Result<Option<Said>> {
    let mut bytes = [0; BYTES];
    match from.read_exact(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let [kind, true_ns, a, status, max_error_us, _steps] = numbers(&bytes);
    let odd = || io::Error::new(ErrorKind::InvalidData, "the shim says what nobody knows");
    match kind {
        1 => {
            let max_error_us = u64::try_from(max_error_us).map_err(|_negative| odd())?;
            Ok(Some(Said::State(State { true_ns, real_ns: a, status, max_error_us })))
        }
        2 => Ok(Some(Said::Ask { true_ns, address: usize::try_from(a).map_err(|_negative| odd())? })),
        3 => Ok(Some(Said::End)),
        _ => Err(odd()),
    }
}

/// Tells the shim what comes of its question.
pub fn answer(to: &mut impl Write, answer: Answer) -> io::Result<()> {
    match answer {
        Answer::Silence => tell(to, [0; 6]),
        Answer::Time { after_ns, server_ns, root_distance_us, leap } => {
            tell(to, [1, 0, after_ns, server_ns, root_distance_us, i64::from(leap)])
        }
    }
}

/// Tells the shim its world.
pub fn start(to: &mut impl Write, start: Start) -> io::Result<()> {
    tell(to, [0, start.true_ns, start.off_ns, start.drift_ppb, start.span_ns, start.seed.cast_signed()])
}

fn tell(to: &mut impl Write, numbers: [i64; 6]) -> io::Result<()> {
    let bytes: Vec<u8> = numbers.into_iter().flat_map(i64::to_ne_bytes).collect();
    to.write_all(&bytes)
}

fn numbers(bytes: &[u8; BYTES]) -> [i64; 6] {
    let mut numbers = [0; 6];
    for (number, part) in numbers.iter_mut().zip(bytes.as_chunks().0) {
        *number = i64::from_ne_bytes(*part);
    }
    numbers
}
