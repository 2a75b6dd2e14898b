//! What must go after a while: old events, temporary blobs, expired tokens, repos that nothing points to.
//!
//! Each slice is a small job of the writer, so that posts pass between them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use platform::time::TrustedTime;
use rusqlite::params;

use crate::Store;
use crate::account::{self, cid_from_sql, time_to_sql};
use crate::error::StoreError;
use crate::writer::Tx;
use crate::{node, record, reserve};

/// Rows that one slice removes: some milliseconds of the writer's time.
const SLICE_ROWS: usize = 256;

/// How long a code is kept after its end, microseconds: a day, in which a mail that was late is read.
const OLD_CODE_KEPT_US: u64 = 24 * 3600 * 1_000_000;

/// What a round of maintenance removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Events that left the log.
    pub events: usize,
    /// Blobs that no record came to refer to.
    pub blobs: usize,
    /// Refresh tokens and codes that had expired.
    pub tokens: usize,
    /// Rows of repos that nothing points to.
    pub repo_rows: usize,
}

impl Store {
    /// Removes what has had its time. To be called every few minutes; does nothing while the clock is not trusted.
    ///
    /// # Errors
    /// [`StoreError::ClockUntrusted`], or a failure of the disk.
    pub async fn maintain(&self) -> Result<Maintained, StoreError> {
        let now = self.inner.env.now()?;
        let mut done = Maintained {
            events: self.slices(move |tx| prune_events(tx, now)).await? + self.bound_events().await?,
            blobs: self.slices(move |tx| prune_blobs(tx, now)).await?,
            tokens: self.slices(move |tx| prune_tokens(tx, now)).await?,
            repo_rows: 0,
        };
        self.slices(move |tx| reserve::prune(tx, now)).await?;
        done.repo_rows = self.slices(prune_repos).await?;
        if !self.inner.swept.swap(true, Ordering::Relaxed) {
            let inner = Arc::clone(&self.inner);
            // Outside a transaction, so that each look sees what uploads have stored meanwhile.
            crate::blocking(move || {
                let conn = inner.connection()?;
                let swept = inner.env.sweep_blobs(&conn);
                inner.shelve(conn);
                swept
            })
            .await?;
        }
        self.inner.env.keep_reserve();
        Ok(done)
    }

    /// Removes the oldest events while the log is larger than it may be.
    async fn bound_events(&self) -> Result<usize, StoreError> {
        let (env, max) = (&self.inner.env, self.inner.env.config.limits.event_bytes_max);
        let known = self.inner.counted.swap(true, Ordering::Relaxed);
        if known && env.event_bytes.load(Ordering::Relaxed) <= max {
            return Ok(0);
        }
        // Exact now: what was pruned or went with its account is not subtracted elsewhere.
        let counted = self.read(|reader| reader.event_bytes()).await?;
        let mut excess = counted.saturating_sub(max);
        let mut total = 0;
        while excess > 0 {
            let (removed, bytes) = self.inner.writer()?.call(move |tx| prune_oldest(tx, excess)).await?;
            if removed == 0 {
                break;
            }
            total += removed;
            excess = excess.saturating_sub(bytes);
        }
        env.event_bytes.store(counted.min(max.saturating_add(excess)), Ordering::Relaxed);
        Ok(total)
    }

    /// Repeats a job until it finds less than a slice to do.
    async fn slices(
        &self,
        job: impl Fn(&mut Tx<'_>) -> Result<usize, StoreError> + Copy + Send + 'static,
    ) -> Result<usize, StoreError> {
        let mut total = 0;
        loop {
            let removed = self.inner.writer()?.call(job).await?;
            total += removed;
            if removed == 0 {
                return Ok(total);
            }
        }
    }
}

fn prune_events(tx: &mut Tx<'_>, now: TrustedTime) -> Result<usize, StoreError> {
    let age_us = tx.env.config.limits.event_age_s.saturating_mul(1_000_000);
    let before = now.unix_micros().saturating_sub(age_us);
    // The newest stays so that its number is known; what a replay needs stays too. Ages need not rise with numbers
    // (a clock may have been ahead), so pruning ends at the first event that is young enough.
    let floor = tx.trees.replay_floor().unwrap_or(u64::MAX);
    let sql = "DELETE FROM event WHERE seq IN (SELECT seq FROM event ORDER BY seq LIMIT ?1) \
               AND seq < coalesce((SELECT min(seq) FROM \
               (SELECT seq, at FROM event ORDER BY seq LIMIT ?1) WHERE at >= ?2), 9223372036854775807) \
               AND seq <= ?3 AND seq < (SELECT max(seq) FROM event)";
    tx.conn
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params![slice(), time_to_sql(before), time_to_sql(floor)]))
        .map_err(StoreError::db("pruning events"))
}

/// Removes a slice of the oldest events, whatever their age; gives their number and bytes. The newest and what a
/// replay needs stay.
fn prune_oldest(tx: &mut Tx<'_>, excess: u64) -> Result<(usize, u64), StoreError> {
    let doing = "bounding the event log";
    let floor = tx.trees.replay_floor().unwrap_or(u64::MAX);
    let mut statement = tx
        .conn
        .prepare_cached(
            "SELECT seq, length(frame) FROM event WHERE seq <= ?2 AND seq < (SELECT max(seq) FROM event) \
             ORDER BY seq LIMIT ?1",
        )
        .map_err(StoreError::db(doing))?;
    let oldest: Vec<(i64, i64)> = statement
        .query_map(params![slice(), time_to_sql(floor)], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(StoreError::db(doing))?;
    drop(statement);
    let (mut removed, mut bytes, mut last) = (0, 0, -1);
    for (seq, length) in oldest {
        if bytes >= excess {
            break;
        }
        (removed, bytes, last) = (removed + 1, bytes + length.unsigned_abs(), seq);
    }
    tx.set("DELETE FROM event WHERE seq <= ?1", [last])?;
    Ok((removed, bytes))
}

fn prune_blobs(tx: &mut Tx<'_>, now: TrustedTime) -> Result<usize, StoreError> {
    let doing = "pruning blobs";
    let age_us = tx.env.config.limits.temp_blob_age_s.saturating_mul(1_000_000);
    let before = time_to_sql(now.unix_micros().saturating_sub(age_us));
    let mut statement = tx
        .conn
        .prepare_cached(
            "SELECT b.account, b.cid, a.did FROM blob b JOIN account a ON a.id = b.account \
             WHERE b.temp = 1 AND b.created_at < ?1 ORDER BY b.created_at LIMIT ?2",
        )
        .map_err(StoreError::db(doing))?;
    let old: Vec<(i64, Vec<u8>, String)> = statement
        .query_map(params![before, slice()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(StoreError::db(doing))?;
    drop(statement);
    for (id, cid, did) in &old {
        tx.set("DELETE FROM blob WHERE account = ?1 AND cid = ?2", params![id, cid])?;
        let did = atproto::syntax::Did::parse(did).map_err(|e| StoreError::corrupt(e.to_string()))?;
        let account = account::require(tx.conn, &did)?;
        tx.doom_blob(&account, &cid_from_sql(cid)?)?;
    }
    Ok(old.len())
}

fn prune_tokens(tx: &mut Tx<'_>, now: TrustedTime) -> Result<usize, StoreError> {
    let now_us = time_to_sql(now.unix_micros());
    // An old code is kept for a while, so that whoever types it learns that it is old and not wrong.
    let day_ago_us = time_to_sql(now.unix_micros().saturating_sub(OLD_CODE_KEPT_US));
    let mut removed = 0;
    for (sql, before) in [
        (
            "DELETE FROM refresh_token WHERE id IN \
             (SELECT id FROM refresh_token WHERE expires_at < ?1 LIMIT ?2)",
            now_us,
        ),
        (
            "DELETE FROM email_token WHERE (account, purpose) IN \
             (SELECT account, purpose FROM email_token WHERE expires_at < ?1 LIMIT ?2)",
            day_ago_us,
        ),
    ] {
        removed += tx
            .conn
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(params![before, slice()]))
            .map_err(StoreError::db("pruning tokens"))?;
    }
    Ok(removed)
}

fn prune_repos(tx: &mut Tx<'_>) -> Result<usize, StoreError> {
    use rusqlite::OptionalExtension;
    let doing = "removing an old repo";
    let repo: Option<i64> = tx
        .conn
        .prepare_cached("SELECT repo FROM doomed_repo WHERE staged = 0 LIMIT 1")
        .and_then(|mut s| s.query_row([], |row| row.get(0)).optional())
        .map_err(StoreError::db(doing))?;
    let Some(repo) = repo else { return Ok(0) };
    for prune in [record::prune, node::prune] {
        let removed = prune(tx.conn, repo, slice())?;
        if removed > 0 {
            return Ok(removed);
        }
    }
    for sql in [
        "DELETE FROM record_blob WHERE repo = ?1 AND (cid, path) IN \
         (SELECT cid, path FROM record_blob WHERE repo = ?1 LIMIT ?2)",
        "DELETE FROM backlink WHERE repo = ?1 AND (subject, tid) IN \
         (SELECT subject, tid FROM backlink WHERE repo = ?1 LIMIT ?2)",
    ] {
        let removed = tx
            .conn
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(params![repo, slice()]))
            .map_err(StoreError::db(doing))?;
        if removed > 0 {
            return Ok(removed);
        }
    }
    tx.set("DELETE FROM doomed_repo WHERE repo = ?1", [repo])?;
    Ok(1)
}

fn slice() -> i64 {
    i64::try_from(SLICE_ROWS).unwrap_or(i64::MAX)
}
