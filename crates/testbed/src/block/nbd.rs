//! The NBD protocol towards QEMU: fixed newstyle handshake, simple replies, one client, a unix socket.
//!
//! Source: the protocol's own specification, doc/proto.md of the NBD project. Requests are entered into the log in the order in
//! which they come. Answers wait until no further request is there, so that requests which the machine has under way at
//! the same time stand before the answers to each other.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::log::{LogError, Recorder};

const INIT_MAGIC: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// Fixed newstyle, and no 124 zeros after the old way to name an export.
const HANDSHAKE_FLAGS: u16 = 0b11;

const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;

const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = (1 << 31) + 1;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// Has flags; takes FLUSH, FUA, TRIM and WRITE_ZEROES.
const TRANSMISSION_FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6;

/// Smallest, best and largest request, bytes. The largest is what QEMU takes when nothing is said.
const BLOCK_BYTES: [u32; 3] = [512, 4096, REQUEST_BYTES_MAX];
const REQUEST_BYTES_MAX: u32 = 32 * 1024 * 1024;

/// Longest data of an option, bytes: an export's name has at most 4,096.
const OPTION_BYTES_MAX: u32 = 64 * 1024;

const COMMAND_READ: u16 = 0;
const COMMAND_WRITE: u16 = 1;
const COMMAND_DISCONNECT: u16 = 2;
const COMMAND_FLUSH: u16 = 3;
const COMMAND_TRIM: u16 = 4;
const COMMAND_WRITE_ZEROES: u16 = 6;

const FLAG_FUA: u16 = 1;

/// Error numbers of the protocol.
const ERROR_IO: u32 = 5;
const ERROR_INVALID: u32 = 22;

/// Why the machine lost its disk.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The socket could not be made.
    #[error("listening for the machine's disk")]
    Listen(#[source] io::Error),
    /// The connection broke otherwise than by its end.
    #[error("talking to the machine's disk driver")]
    Talk(#[source] io::Error),
    /// What came is no NBD.
    #[error("the disk driver speaks no NBD: {0}")]
    Protocol(&'static str),
    /// The thread of the disk ended by a bug.
    #[error("the disk's thread failed")]
    Bug,
}

/// A disk that is being served.
#[derive(Debug)]
pub struct Server {
    thread: JoinHandle<Result<(), NbdError>>,
}

impl Server {
    /// Waits until the machine has let go of the disk: it ended, or closed the connection.
    ///
    /// # Errors
    /// When the connection broke otherwise.
    pub fn join(self) -> Result<(), NbdError> {
        self.thread.join().map_err(|_| NbdError::Bug)?
    }
}

/// Serves a disk at a unix socket, to the first client that comes.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(socket: &Path, disk: Arc<Recorder>) -> Result<Server, NbdError> {
    let listener = UnixListener::bind(socket).map_err(NbdError::Listen)?;
    let thread = std::thread::Builder::new()
        .name("disk".to_owned())
        .spawn(move || {
            let (stream, _) = listener.accept().map_err(NbdError::Talk)?;
            talk(stream, &disk)
        })
        .map_err(NbdError::Listen)?;
    Ok(Server { thread })
}

/// A request as it came.
#[derive(Debug)]
struct Request {
    flags: u16,
    command: u16,
    cookie: u64,
    offset: u64,
    len: u32,
    data: Vec<u8>,
}

fn talk(stream: UnixStream, disk: &Recorder) -> Result<(), NbdError> {
    let mut out = stream.try_clone().map_err(NbdError::Talk)?;
    let mut input = BufReader::new(stream);
    if !shake_hands(&mut input, &mut out, disk.bytes())? {
        return Ok(());
    }
    let (sender, requests) = channel();
    let reader = std::thread::Builder::new()
        .name("disk requests".to_owned())
        .spawn(move || read_requests(&mut input, &sender))
        .map_err(NbdError::Talk)?;
    let answered = answer_all(&requests, &mut out, disk);
    // Without its receiver, or without a peer, the reader ends too.
    drop(requests);
    drop(out.shutdown(std::net::Shutdown::Both));
    let read = reader.join().map_err(|_| NbdError::Bug)?;
    answered.and(read)
}

/// Negotiates; `false` when the client only looked.
fn shake_hands(input: &mut impl Read, out: &mut impl Write, bytes: u64) -> Result<bool, NbdError> {
    let mut hello = INIT_MAGIC.to_vec();
    hello.extend(OPTION_MAGIC.to_be_bytes());
    hello.extend(HANDSHAKE_FLAGS.to_be_bytes());
    out.write_all(&hello).map_err(NbdError::Talk)?;
    let _client_flags: [u8; 4] = take(input)?;
    loop {
        if u64::from_be_bytes(take(input)?) != OPTION_MAGIC {
            return Err(NbdError::Protocol("an option without its magic number"));
        }
        let option = u32::from_be_bytes(take(input)?);
        let len = u32::from_be_bytes(take(input)?);
        if len > OPTION_BYTES_MAX {
            return Err(NbdError::Protocol("an option that is too long"));
        }
        io::copy(&mut input.take(u64::from(len)), &mut io::sink()).map_err(NbdError::Talk)?;
        let mut reply = Vec::new();
        match option {
            OPTION_EXPORT_NAME => {
                reply.extend(bytes.to_be_bytes());
                reply.extend(TRANSMISSION_FLAGS.to_be_bytes());
                out.write_all(&reply).map_err(NbdError::Talk)?;
                return Ok(true);
            }
            OPTION_GO | OPTION_INFO => {
                let mut export = INFO_EXPORT.to_be_bytes().to_vec();
                export.extend(bytes.to_be_bytes());
                export.extend(TRANSMISSION_FLAGS.to_be_bytes());
                option_reply(&mut reply, option, REPLY_INFO, &export);
                let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
                sizes.extend(BLOCK_BYTES.iter().flat_map(|size| size.to_be_bytes()));
                option_reply(&mut reply, option, REPLY_INFO, &sizes);
                option_reply(&mut reply, option, REPLY_ACK, &[]);
            }
            OPTION_ABORT => option_reply(&mut reply, option, REPLY_ACK, &[]),
            _ => option_reply(&mut reply, option, REPLY_UNSUPPORTED, &[]),
        }
        out.write_all(&reply).map_err(NbdError::Talk)?;
        match option {
            OPTION_GO => return Ok(true),
            OPTION_ABORT => return Ok(false),
            _ => {}
        }
    }
}

fn option_reply(out: &mut Vec<u8>, option: u32, kind: u32, data: &[u8]) {
    out.extend(OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend(option.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(data);
}

/// Reads requests until the client is gone.
fn read_requests(input: &mut impl Read, requests: &Sender<Request>) -> Result<(), NbdError> {
    loop {
        let magic: [u8; 4] = match take(input) {
            Ok(magic) => magic,
            // A machine that is switched off does not say goodbye.
            Err(NbdError::Talk(error)) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        if u32::from_be_bytes(magic) != REQUEST_MAGIC {
            return Err(NbdError::Protocol("a request without its magic number"));
        }
        let flags = u16::from_be_bytes(take(input)?);
        let command = u16::from_be_bytes(take(input)?);
        let cookie = u64::from_be_bytes(take(input)?);
        let offset = u64::from_be_bytes(take(input)?);
        let len = u32::from_be_bytes(take(input)?);
        if command == COMMAND_DISCONNECT {
            return Ok(());
        }
        let mut data = Vec::new();
        if command == COMMAND_WRITE {
            if len > REQUEST_BYTES_MAX {
                return Err(NbdError::Protocol("a write that is too long"));
            }
            data.resize(usize::try_from(len).unwrap_or(0), 0);
            match input.read_exact(&mut data) {
                Err(error) if is_gone(&error) => return Ok(()),
                read => read.map_err(NbdError::Talk)?,
            }
        }
        if requests.send(Request { flags, command, cookie, offset, len, data }).is_err() {
            return Ok(());
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Does requests in their order, and answers when no other waits.
fn answer_all(requests: &Receiver<Request>, out: &mut impl Write, disk: &Recorder) -> Result<(), NbdError> {
    let mut answers = Vec::new();
    while let Ok(first) = requests.recv() {
        let mut next = Some(first);
        while let Some(request) = next {
            answer(&request, disk, &mut answers);
            next = requests.try_recv().ok();
        }
        disk.answered();
        match out.write_all(&answers) {
            Err(error) if is_gone(&error) => return Ok(()),
            written => written.map_err(NbdError::Talk)?,
        }
        answers.clear();
    }
    Ok(())
}

fn answer(request: &Request, disk: &Recorder, answers: &mut Vec<u8>) {
    let Request { flags, command, offset, len, data, .. } = request;
    let fua = flags & FLAG_FUA != 0;
    let mut read = Vec::new();
    let done = match *command {
        COMMAND_READ if *len <= REQUEST_BYTES_MAX => {
            read.resize(usize::try_from(*len).unwrap_or(0), 0);
            disk.read(*offset, &mut read)
        }
        COMMAND_WRITE => disk.write(*offset, data, fua),
        COMMAND_WRITE_ZEROES | COMMAND_TRIM => disk.write_zeros(*offset, u64::from(*len), fua),
        COMMAND_FLUSH => {
            disk.flush();
            Ok(())
        }
        _ => Err(LogError::Outside { offset: *offset, len: u64::from(*len) }),
    };
    let error = match done {
        Ok(()) => 0,
        Err(LogError::Outside { .. }) => ERROR_INVALID,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the disk fails");
            ERROR_IO
        }
    };
    answers.extend(REPLY_MAGIC.to_be_bytes());
    answers.extend(error.to_be_bytes());
    answers.extend(request.cookie.to_be_bytes());
    if error == 0 {
        answers.extend(read);
    }
}

fn take<const LEN: usize>(input: &mut impl Read) -> Result<[u8; LEN], NbdError> {
    let mut bytes = [0; LEN];
    input.read_exact(&mut bytes).map_err(NbdError::Talk)?;
    Ok(bytes)
}
