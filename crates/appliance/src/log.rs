//! The supervisor's log, which cannot hold it: lines go to a thread of their own, and what that thread cannot get rid of is
//! left out and counted.
//!
//! Standard error may be a console that is stopped, or a pipe that nobody reads. Who writes to it would wait for ever,
//! and with it the watchdog's feeding.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait: a start of all programs says about a hundred.
const LINES_MAX: usize = 512;

/// The way into the log; all clones lead to one.
#[derive(Clone, Debug)]
pub struct Log {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Log {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(LINES_MAX);
        let lost = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&lost);
        let run = move || write_out(out, &waiting, &counted);
        let _runs_on = std::thread::Builder::new().name("log".to_owned()).spawn(run)?;
        Ok(Self { lines, lost })
    }
}

fn write_out(mut out: impl Write, waiting: &Receiver<Vec<u8>>, lost: &AtomicU64) {
    while let Ok(line) = waiting.recv() {
        // There is nobody to tell of a log that fails.
        let _lost = out.write_all(&line).is_err();
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _lost = writeln!(out, "{count} lines of the log are left out: nobody took them").is_err();
        }
    }
}

impl Write for Log {
    /// Takes the whole line, or leaves the whole line out.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(line.to_vec()).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_full_pipe_holds_nobody_and_what_was_left_out_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        let mut log = Log::start(writer).unwrap();
        // Far more than a pipe of 64 KiB and the queue take together, while nobody reads.
        let mut line = vec![b'x'; 1_024];
        line.push(b'\n');
        for _ in 0..LINES_MAX * 4 {
            log.write_all(&line).unwrap();
        }
        assert!(log.lost.load(Ordering::Relaxed) > 0);
        let mut read = BufReader::new(reader).lines();
        let told = read.find_map(|line| {
            line.unwrap().strip_suffix(" lines of the log are left out: nobody took them").map(str::to_owned)
        });
        assert!(told.unwrap().parse::<u64>().unwrap() > 0);
    }
}
