//! Lexicons that were resolved, and names for which there was none.

use atproto::syntax::Nsid;
use rusqlite::{OptionalExtension, params};

use crate::Store;
use crate::account::time_to_sql;
use crate::error::StoreError;
use crate::read::Reader;

/// Lexicons that are kept, the ones fetched last; at 256 KiB each they could take 256 MiB, real ones take a few MB.
/// Someone who writes records of ever new types pushes others out: these are fetched again when they are next used.
pub const LEXICONS_KEPT: u32 = 1024;

/// What was found under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLexicon {
    /// The record, DAG-CBOR; `None` when there was none.
    pub body: Option<Vec<u8>>,
    /// When it was looked for, UTC microseconds.
    pub fetched_us: u64,
}

impl Reader<'_> {
    /// Gives what is remembered of a lexicon.
    ///
    /// # Errors
    /// When the database fails.
    pub fn lexicon(&self, nsid: &Nsid) -> Result<Option<StoredLexicon>, StoreError> {
        self.conn()
            .prepare_cached("SELECT body, fetched_at FROM lexicon WHERE nsid = ?1")
            .and_then(|mut s| {
                s.query_row([nsid.as_str()], |row| {
                    let fetched_us: i64 = row.get(1)?;
                    Ok(StoredLexicon { body: row.get(0)?, fetched_us: fetched_us.unsigned_abs() })
                })
                .optional()
            })
            .map_err(StoreError::db("reading a lexicon"))
    }
}

impl Store {
    /// Remembers a lexicon, or that there is none; of too many the oldest are forgotten.
    ///
    /// # Errors
    /// [`StoreError::ClockUntrusted`], [`StoreError::DiskFull`], or a failure of the disk.
    pub async fn keep_lexicon(&self, nsid: Nsid, body: Option<Vec<u8>>) -> Result<(), StoreError> {
        let job = move |tx: &mut crate::writer::Tx<'_>| {
            tx.env.check_room()?;
            let now = time_to_sql(tx.env.now()?.unix_micros());
            tx.set(
                "INSERT OR REPLACE INTO lexicon (nsid, body, fetched_at) VALUES (?1, ?2, ?3)",
                params![nsid.as_str(), body, now],
            )?;
            tx.set(
                "DELETE FROM lexicon WHERE nsid IN \
                 (SELECT nsid FROM lexicon ORDER BY fetched_at DESC, nsid LIMIT -1 OFFSET ?1)",
                [LEXICONS_KEPT],
            )
        };
        self.inner.writer()?.call(job).await
    }
}
