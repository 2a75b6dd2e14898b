//! Reads frames, as a consumer does; used to check what we send and to read it back.

use super::{
    AccountEvent, AccountStatus, Action, BLOCKS_BYTES_MAX, CommitEvent, FRAME_BYTES_MAX, IdentityEvent,
    OPS_MAX, RepoOp, SEQ_MAX, SYNC_BLOCKS_BYTES_MAX, SyncEvent,
};
use crate::cbor::{DecodeError, Map, Value, decode, decode_prefix};
use crate::cid::Cid;
use crate::syntax::{Did, Handle, SyntaxError};
use crate::tid::Tid;

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Commit {
        seq: u64,
        time: String,
        event: CommitEvent,
    },
    Sync {
        seq: u64,
        time: String,
        event: SyncEvent,
    },
    Identity {
        seq: u64,
        time: String,
        event: IdentityEvent,
    },
    Account {
        seq: u64,
        time: String,
        event: AccountEvent,
    },
    Info {
        name: String,
        message: Option<String>,
    },
    Error {
        error: String,
        message: Option<String>,
    },
    /// A kind that is newer than this program; consumers pass it by.
    Unknown {
        kind: String,
    },
}

/// Why a frame cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the frame is beyond the stream's limits")]
    TooLarge,
    #[error("the frame is not two DAG-CBOR objects")]
    Cbor(#[from] DecodeError),
    #[error("the field {0} is missing or of another type")]
    Field(&'static str),
    #[error("the field {field} is not acceptable")]
    Syntax {
        field: &'static str,
        #[source]
        source: SyntaxError,
    },
    #[error("a commit that is marked as rebase or too big carries no proof")]
    Deprecated,
}

/// Decodes one websocket message.
pub fn decode_frame(bytes: &[u8]) -> Result<Frame, FrameError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge);
    }
    let (header, body) = decode_prefix(bytes)?;
    let header = Fields(header.as_map().ok_or(FrameError::Field("header"))?);
    let body = decode(body)?;
    let body = Fields(body.as_map().ok_or(FrameError::Field("body"))?);
    match header.get("op", Value::as_int)? {
        -1 => {
            let error = body.text("error")?.to_owned();
            return Ok(Frame::Error { error, message: body.optional_text("message")? });
        }
        1 => {}
        _ => return Err(FrameError::Field("op")),
    }
    Ok(match header.text("t")? {
        "#commit" => Frame::Commit { seq: body.seq()?, time: body.time()?, event: commit(&body)? },
        "#sync" => {
            let event = SyncEvent {
                did: body.did("did")?,
                rev: body.rev()?,
                blocks: body.blocks(SYNC_BLOCKS_BYTES_MAX)?,
            };
            Frame::Sync { seq: body.seq()?, time: body.time()?, event }
        }
        "#identity" => {
            let handle = body.optional_text("handle")?;
            let handle = handle
                .map(|handle| Handle::parse(&handle))
                .transpose()
                .map_err(|source| FrameError::Syntax { field: "handle", source })?;
            let event = IdentityEvent { did: body.did("did")?, handle };
            Frame::Identity { seq: body.seq()?, time: body.time()?, event }
        }
        "#account" => {
            let event = AccountEvent { did: body.did("did")?, inactive: inactive(&body)? };
            Frame::Account { seq: body.seq()?, time: body.time()?, event }
        }
        "#info" => {
            Frame::Info { name: body.text("name")?.to_owned(), message: body.optional_text("message")? }
        }
        other => Frame::Unknown { kind: other.to_owned() },
    })
}

fn commit(body: &Fields<'_>) -> Result<CommitEvent, FrameError> {
    if body.get("rebase", Value::as_bool)? || body.get("tooBig", Value::as_bool)? {
        return Err(FrameError::Deprecated);
    }
    let list = body.get("ops", Value::as_list)?;
    if list.len() > OPS_MAX {
        return Err(FrameError::TooLarge);
    }
    let ops = list.iter().map(op).collect::<Result<_, _>>()?;
    let since = match body.0.get("since") {
        Some(Value::Null) => None,
        _ => Some(body.tid("since")?),
    };
    Ok(CommitEvent {
        did: body.did("repo")?,
        commit: body.get("commit", Value::as_link)?,
        rev: body.rev()?,
        since,
        prev_data: body.optional_link("prevData")?,
        ops,
        blocks: body.blocks(BLOCKS_BYTES_MAX)?,
    })
}

fn op(value: &Value) -> Result<RepoOp, FrameError> {
    let op = Fields(value.as_map().ok_or(FrameError::Field("ops"))?);
    let action = match op.text("action")? {
        "create" => Action::Create,
        "update" => Action::Update,
        "delete" => Action::Delete,
        _ => return Err(FrameError::Field("action")),
    };
    let cid = match op.0.get("cid") {
        Some(Value::Null) => None,
        _ => Some(op.get("cid", Value::as_link)?),
    };
    Ok(RepoOp { action, path: op.text("path")?.to_owned(), cid, prev: op.optional_link("prev")? })
}

fn inactive(body: &Fields<'_>) -> Result<Option<AccountStatus>, FrameError> {
    let status = body.optional_text("status")?;
    let status = match status {
        Some(word) => Some(AccountStatus::parse(&word).ok_or(FrameError::Field("status"))?),
        None => None,
    };
    match (body.get("active", Value::as_bool)?, status) {
        (true, _) => Ok(None),
        (false, Some(status)) => Ok(Some(status)),
        // The lexicon lets a reason be left out; nothing that we send or store does.
        (false, None) => Err(FrameError::Field("status")),
    }
}

/// A map whose fields are read by name.
struct Fields<'v>(&'v Map);

impl<'v> Fields<'v> {
    fn get<T>(&self, name: &'static str, read: impl Fn(&'v Value) -> Option<T>) -> Result<T, FrameError> {
        self.0.get(name).and_then(read).ok_or(FrameError::Field(name))
    }

    fn text(&self, name: &'static str) -> Result<&'v str, FrameError> {
        self.get(name, Value::as_text)
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<String>, FrameError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => value.as_text().map(|text| Some(text.to_owned())).ok_or(FrameError::Field(name)),
        }
    }

    fn optional_link(&self, name: &'static str) -> Result<Option<Cid>, FrameError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_link().map(Some).ok_or(FrameError::Field(name)),
        }
    }

    fn seq(&self) -> Result<u64, FrameError> {
        let seq = u64::try_from(self.get("seq", Value::as_int)?).map_err(|_| FrameError::Field("seq"))?;
        if seq <= SEQ_MAX { Ok(seq) } else { Err(FrameError::Field("seq")) }
    }

    fn time(&self) -> Result<String, FrameError> {
        self.text("time").map(str::to_owned)
    }

    fn did(&self, name: &'static str) -> Result<Did, FrameError> {
        Did::parse(self.text(name)?).map_err(|source| FrameError::Syntax { field: name, source })
    }

    fn rev(&self) -> Result<Tid, FrameError> {
        self.tid("rev")
    }

    fn tid(&self, name: &'static str) -> Result<Tid, FrameError> {
        Tid::parse(self.text(name)?).map_err(|source| FrameError::Syntax { field: name, source })
    }

    fn blocks(&self, bytes_max: usize) -> Result<bytes::Bytes, FrameError> {
        let blocks = self.get("blocks", Value::as_bytes)?;
        if blocks.len() > bytes_max {
            return Err(FrameError::TooLarge);
        }
        Ok(bytes::Bytes::copy_from_slice(blocks))
    }
}
