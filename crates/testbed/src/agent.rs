//! The host's end of the conversation with the guest's agent (`guest/agent.sh`), over a virtio-serial port.
//!
//! Each side sends a line, then as many raw bytes as the line says; a number joins an answer to its question, so that
//! commands may run side by side:
//!
//! ```text
//! host  -> guest   run ID BYTES             and the script
//!                  put ID MODE BYTES PATH   and the content
//!                  stop ID                  ends a running script and what it started
//! guest -> host    hello UPTIME             when it listens: once in each life of the guest
//!                  done ID CODE BYTES BYTES and what went to standard output and standard error
//! ```

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::TestbedError;

/// Most bytes that one answer may have: more is a broken stream and not a test's output.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its exit code; 128 and the signal when it was killed.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Done {
    /// Its standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// What the reader has heard.
#[derive(Debug, Default)]
struct Heard {
    hello: Option<String>,
    done: BTreeMap<u64, Done>,
    gone: bool,
    last_id: u64,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Heard>,
    news: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.lock());
        self.news.notify_all();
    }
}

/// A connected agent.
#[derive(Debug)]
pub(crate) struct Agent {
    stream: Mutex<UnixStream>,
    shared: Arc<Shared>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    Late,
    Gone,
}

impl Agent {
    /// Starts to listen on the connection that QEMU has made.
    pub(crate) fn new(stream: UnixStream) -> Result<Self, TestbedError> {
        let reading = stream.try_clone().map_err(TestbedError::talk("listen to the agent"))?;
        let shared = Arc::new(Shared::default());
        let heard = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reading);
            while let Some(()) = hear(&mut reader, &heard) {}
            heard.tell(|heard| heard.gone = true);
        });
        Ok(Self { stream: Mutex::new(stream), shared })
    }

    /// Waits until the agent listens, and gives the guest's uptime then, in seconds. Each greeting is given once: after
    /// a restart of the guest there is another.
    pub(crate) fn wait_hello(&self, limit: Duration) -> Result<String, NoAnswer> {
        self.wait(limit, |heard| heard.hello.take())
    }

    /// Asks for a script to be run and gives the number of the question.
    pub(crate) fn run(&self, script: &str) -> Result<u64, TestbedError> {
        self.ask(|id| format!("run {id} {}", script.len()), script.as_bytes())
    }

    /// Sends a file.
    pub(crate) fn put(&self, path: &str, mode: u32, content: &[u8]) -> Result<u64, TestbedError> {
        self.ask(|id| format!("put {id} {mode:o} {} {path}", content.len()), content)
    }

    /// Ends a running script with all that it started in its session.
    pub(crate) fn stop(&self, id: u64) -> Result<(), TestbedError> {
        self.send(&format!("stop {id}"), &[])
    }

    /// Waits for the answer to a question.
    pub(crate) fn wait_done(&self, id: u64, limit: Duration) -> Result<Done, NoAnswer> {
        self.wait(limit, |heard| heard.done.remove(&id))
    }

    fn wait<T>(&self, limit: Duration, mut get: impl FnMut(&mut Heard) -> Option<T>) -> Result<T, NoAnswer> {
        let until = Instant::now() + limit;
        let mut heard = self.shared.lock();
        loop {
            if let Some(found) = get(&mut heard) {
                return Ok(found);
            }
            if heard.gone {
                return Err(NoAnswer::Gone);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoAnswer::Late);
            }
            heard = self.shared.news.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ask(&self, line: impl FnOnce(u64) -> String, content: &[u8]) -> Result<u64, TestbedError> {
        let id = {
            let mut heard = self.shared.lock();
            heard.last_id += 1;
            heard.last_id
        };
        self.send(&line(id), content)?;
        Ok(id)
    }

    fn send(&self, line: &str, content: &[u8]) -> Result<(), TestbedError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = stream.write_all(format!("{line}\n").as_bytes()).and_then(|()| stream.write_all(content));
        sent.map_err(TestbedError::talk("send to the guest"))
    }
}

/// Reads one message; `None` when the stream is at its end or is no conversation of ours.
fn hear(reader: &mut impl BufRead, shared: &Shared) -> Option<()> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["hello", uptime] => {
            let uptime = (*uptime).to_owned();
            shared.tell(|heard| heard.hello = Some(uptime));
        }
        ["done", id, code, stdout, stderr] => {
            let (id, code) = (id.parse().ok()?, code.parse().ok()?);
            let (stdout, stderr) = (content(reader, stdout)?, content(reader, stderr)?);
            shared.tell(|heard| drop(heard.done.insert(id, Done { code, stdout, stderr })));
        }
        other => tracing::warn!(?other, "the agent said something else"),
    }
    Some(())
}

fn content(reader: &mut impl Read, bytes: &str) -> Option<Vec<u8>> {
    let bytes: u64 = bytes.parse().ok().filter(|bytes| *bytes <= ANSWER_BYTES_MAX)?;
    let mut content = Vec::new();
    let read = reader.take(bytes).read_to_end(&mut content).ok()?;
    (u64::try_from(read).ok()? == bytes).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn answers_find_their_questions_in_any_order() {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let agent = Agent::new(ours).unwrap();
        let (first, second) = (agent.run("a").unwrap(), agent.run("b").unwrap());
        guest
            .write_all(format!("hello 3.5\ndone {second} 7 2 1\nxyzdone {first} 0 0 0\n").as_bytes())
            .unwrap();
        assert_eq!(agent.wait_hello(LIMIT).unwrap(), "3.5");
        assert_eq!(agent.wait_done(first, LIMIT).unwrap().code, 0);
        let done = agent.wait_done(second, LIMIT).unwrap();
        assert_eq!((done.code, done.text(), done.error_text()), (7, "xy".to_owned(), "z".to_owned()));
        assert_eq!(agent.wait_done(first, Duration::ZERO), Err(NoAnswer::Late));
        drop(guest);
        assert_eq!(agent.wait_done(first, LIMIT), Err(NoAnswer::Gone));
    }
}
