//! Rows of records: the name in one table, what it names in another.
//!
//! Reading goes through the view `record`, which joins the two; writing goes through here.

use atproto::cid::Cid;
use atproto::syntax::Tid;
use rusqlite::{Connection, OptionalExtension, params};

use crate::account::tid_to_sql;
use crate::error::StoreError;

/// Reads the CID of a record out of its digest.
pub(crate) fn cid_from_digest(digest: &[u8]) -> Result<Cid, StoreError> {
    let digest = digest.try_into().map_err(|_| StoreError::corrupt("a digest that has not 32 bytes"))?;
    Ok(Cid::dag_cbor_of_digest(digest))
}

/// Adds a record whose name is not taken.
pub(crate) fn insert(
    conn: &Connection,
    repo: i64,
    path: &str,
    cid: &Cid,
    rev: Tid,
    body: &[u8],
) -> Result<(), StoreError> {
    let failed = StoreError::db("storing a record");
    let add = || -> rusqlite::Result<()> {
        conn.prepare_cached("INSERT INTO record_body (rev, digest, body) VALUES (?1, ?2, ?3)")?
            .execute(params![tid_to_sql(rev), cid.digest(), body])?;
        conn.prepare_cached("INSERT INTO record_name (repo, path, record) VALUES (?1, ?2, ?3)")?
            .execute(params![repo, path, conn.last_insert_rowid()])?;
        Ok(())
    };
    add().map_err(failed)
}

/// Puts another record under a name.
pub(crate) fn replace(
    conn: &Connection,
    repo: i64,
    path: &str,
    cid: &Cid,
    rev: Tid,
    body: &[u8],
) -> Result<(), StoreError> {
    let sql = "UPDATE record_body SET rev = ?3, digest = ?4, body = ?5 \
               WHERE id = (SELECT record FROM record_name WHERE repo = ?1 AND path = ?2)";
    let replaced = conn
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params![repo, path, tid_to_sql(rev), cid.digest(), body]))
        .map_err(StoreError::db("replacing a record"))?;
    if replaced == 1 { Ok(()) } else { Err(StoreError::corrupt("a record of the tree has no row")) }
}

/// Removes a record and its name.
pub(crate) fn remove(conn: &Connection, repo: i64, path: &str) -> Result<(), StoreError> {
    let take = || -> rusqlite::Result<()> {
        let id: Option<i64> = conn
            .prepare_cached("DELETE FROM record_name WHERE repo = ?1 AND path = ?2 RETURNING record")?
            .query_row(params![repo, path], |row| row.get(0))
            .optional()?;
        conn.prepare_cached("DELETE FROM record_body WHERE id = ?1")?.execute([id])?;
        Ok(())
    };
    take().map_err(StoreError::db("removing a record"))
}

/// Removes some records of a repo that nothing points to; returns how many.
pub(crate) fn prune(conn: &Connection, repo: i64, limit: i64) -> Result<usize, StoreError> {
    let take = || -> rusqlite::Result<usize> {
        let first = "FROM record_name WHERE repo = ?1 ORDER BY path LIMIT ?2";
        conn.prepare_cached(&format!("DELETE FROM record_body WHERE id IN (SELECT record {first})"))?
            .execute(params![repo, limit])?;
        conn.prepare_cached(&format!(
            "DELETE FROM record_name WHERE repo = ?1 AND path IN (SELECT path {first})"
        ))?
        .execute(params![repo, limit])
    };
    take().map_err(StoreError::db("removing records of an old repo"))
}
