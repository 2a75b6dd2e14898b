//! Time servers on this computer's loopback, which a guest reaches at 10.0.2.2: they tell UTC, or lie as told.
//!
//! SNTP as RFC 4330 section 6 has it, without authentication.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use crate::{TestbedError, host::output};

/// Length of a packet without extensions (RFC 4330 section 4).
const PACKET_BYTES: usize = 48;

/// Seconds from NTP's first era (1900) to 1970.
const ERA_S: i128 = 2_208_988_800;

/// How a time server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It is ahead of UTC by so many microseconds, and sends these leap bits.
    Time {
        /// Microseconds; zero is honest.
        ahead_us: i64,
        /// Leap indicator, 0 to 3.
        leap: u8,
    },
    /// It is ahead by so many microseconds and announces a leap second, which it inserts when its UTC comes to `at_us`.
    Leaps {
        /// Microseconds.
        ahead_us: i64,
        /// The end of a month, microseconds since 1970.
        at_us: i64,
    },
    /// Honest, but every second question is not answered, and every other answer is an hour ahead.
    Flaps,
    /// It does not answer.
    Silent,
    /// It sends a kiss-o'-death with these letters.
    Kiss([u8; 4]),
}

/// An honest server.
pub const HONEST: Behaviour = Behaviour::Time { ahead_us: 0, leap: 0 };

/// UTC as this computer has it: its clock is read once, then the monotonic one goes on.
#[derive(Clone, Copy, Debug)]
pub struct Utc {
    unix_us: i64,
    at: Instant,
}

impl Utc {
    /// Reads this computer's clock, by `date`: the project's own code reads no clock but the platform's.
    ///
    /// # Errors
    /// When there is no `date` of GNU.
    pub fn of_this_computer() -> Result<Self, TestbedError> {
        let command = "date +%s%6N";
        let at = Instant::now();
        let said = String::from_utf8_lossy(&output(Path::new("/"), "date", &["+%s%6N"])?).into_owned();
        let unix_us = said.trim().parse();
        let unix_us = unix_us.map_err(|_| TestbedError::Command { command: command.to_owned(), said })?;
        Ok(Self { unix_us, at })
    }

    /// UTC now, microseconds since 1970.
    #[must_use]
    pub fn us(self) -> i64 {
        self.unix_us.saturating_add(i64::try_from(self.at.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

/// A running server; it serves until the process ends. Clones are the same server.
#[derive(Clone, Debug)]
pub struct TimeServer {
    address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl TimeServer {
    /// Starts a server; port 0 takes any that is free.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(address: SocketAddr, utc: Utc, behaviour: Behaviour) -> Result<Self, TestbedError> {
        let socket = UdpSocket::bind(address).map_err(TestbedError::talk("start a time server"))?;
        let address = socket.local_addr().map_err(TestbedError::talk("start a time server"))?;
        let behaviour = Arc::new(Mutex::new(behaviour));
        let told = Arc::clone(&behaviour);
        thread::spawn(move || {
            let mut question = [0; 512];
            let mut asked = 0_u64;
            while let Ok((length, peer)) = socket.recv_from(&mut question) {
                asked += 1;
                let behaviour = *told.lock().unwrap_or_else(PoisonError::into_inner);
                let question = question.get(..length).unwrap_or_default();
                if let Some(answer) = answer(question, behaviour, asked, utc) {
                    // A guest that is gone asks no more.
                    drop(socket.send_to(&answer, peer));
                }
            }
        });
        Ok(Self { address, behaviour })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it how to behave from now on.
    pub fn tell(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }
}

/// The answer to the question with this number, counted from 1; `None` for silence.
fn answer(question: &[u8], behaviour: Behaviour, number: u64, utc: Utc) -> Option<Vec<u8>> {
    let transmitted = question.get(40..PACKET_BYTES)?;
    let (mut leap, mut stratum, mut reference, mut ahead_us) = (0, 1, [0; 4], 0);
    match behaviour {
        Behaviour::Silent => return None,
        Behaviour::Flaps if number.is_multiple_of(2) => return None,
        Behaviour::Flaps if number % 4 == 3 => ahead_us = 3_600_000_000,
        Behaviour::Flaps | Behaviour::Leaps { .. } => {}
        Behaviour::Kiss(letters) => (leap, stratum, reference) = (3, 0, letters),
        Behaviour::Time { ahead_us: told_us, leap: told } => (ahead_us, leap) = (told_us, told & 3),
    }
    if let Behaviour::Leaps { ahead_us: told_us, at_us } = behaviour {
        let has_leapt = utc.us().saturating_add(told_us) >= at_us;
        ahead_us = told_us - if has_leapt { 1_000_000 } else { 0 };
        leap = u8::from(!has_leapt);
    }
    let received_us = utc.us().saturating_add(ahead_us);
    // Leap, version 4, mode 4 (server); stratum; poll; precision of a microsecond.
    let mut packet = vec![leap << 6 | 4 << 3 | 4, stratum, 6, (-20_i8).cast_unsigned()];
    packet.extend([0; 8]);
    packet.extend(reference);
    packet.extend(stamp(received_us.saturating_sub(1_000_000)));
    packet.extend(transmitted);
    packet.extend(stamp(received_us));
    packet.extend(stamp(utc.us().saturating_add(ahead_us)));
    Some(packet)
}

/// A time stamp in 32.32 bits, whatever the era (RFC 5905 section 6).
fn stamp(unix_us: i64) -> [u8; 8] {
    let wide = (i128::from(unix_us) << 32).div_euclid(1_000_000) + (ERA_S << 32);
    u64::try_from(wide.rem_euclid(1 << 64)).unwrap_or_default().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stamps_are_those_of_the_rfc_in_either_era() {
        // RFC 5905 figure 4: 1970 is 2,208,988,800 s of era 0; era 1 begins on 7 February 2036, 06:28:16.
        assert_eq!(stamp(0), [0x83, 0xaa, 0x7e, 0x80, 0, 0, 0, 0]);
        assert_eq!(stamp(2_085_978_496_500_000), [0, 0, 0, 0, 0x80, 0, 0, 0]);
    }

    #[test]
    fn it_answers_as_it_is_told() {
        let utc = Utc { unix_us: 1_000_000, at: Instant::now() };
        let server = TimeServer::start(([127, 0, 0, 1], 0).into(), utc, HONEST).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ask = || {
            let mut question = [0x23; PACKET_BYTES];
            question[40..].copy_from_slice(b"question");
            socket.send_to(&question, server.address()).unwrap();
            let mut answer = [0; 64];
            socket.recv(&mut answer).map(|length| answer[..length].to_vec())
        };
        let honest = ask().unwrap();
        assert_eq!((honest.len(), &honest[24..32]), (PACKET_BYTES, b"question".as_slice()));
        assert!(honest[40..44] >= stamp(1_000_000)[..4] && honest[40..44] < stamp(600_000_000)[..4]);
        server.tell(Behaviour::Time { ahead_us: 3_600_000_000, leap: 1 });
        let ahead = ask().unwrap();
        assert!(ahead[40..44] >= stamp(3_601_000_000)[..4] && ahead[0] >> 6 == 1);
        server.tell(Behaviour::Leaps { ahead_us: 0, at_us: 600_000_000 });
        assert_eq!(ask().unwrap()[0] >> 6, 1, "it is to come");
        server.tell(Behaviour::Leaps { ahead_us: 3_600_000_000, at_us: 3_600_000_000 });
        let leapt = ask().unwrap();
        assert!(leapt[40..44] >= stamp(3_600_000_000)[..4] && leapt[0] >> 6 == 0);
        server.tell(Behaviour::Kiss(*b"DENY"));
        let kiss = ask().unwrap();
        assert_eq!((kiss[1], &kiss[12..16]), (0, b"DENY".as_slice()));
        server.tell(Behaviour::Silent);
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(ask().is_err());
    }
}
