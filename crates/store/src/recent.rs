//! What was written lately, for views that are ahead of others.

use atproto::syntax::Tid;
use rusqlite::params;

use crate::account::{Account, tid_to_sql};
use crate::error::StoreError;
use crate::read::Reader;

/// Records, first by name, among which an old one is looked for. Looking through all would read the whole repo in the
/// one case in which there is none: right after an import.
const LOOKED_AT_MAX: i64 = 200;

impl Reader<'_> {
    /// Tells whether the repo surely has records that were written at a revision or before it.
    ///
    /// A revision before all records is not of this repo's life here: whoever names it knows the repo from elsewhere.
    ///
    /// # Errors
    /// When the database fails.
    pub fn has_records_until(&self, account: &Account, rev: Tid) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM \
                   (SELECT rev FROM record WHERE repo = ?1 ORDER BY path LIMIT ?3) WHERE rev <= ?2)";
        self.conn()
            .prepare_cached(sql)
            .and_then(|mut s| {
                s.query_row(params![account.repo, tid_to_sql(rev), LOOKED_AT_MAX], |row| row.get(0))
            })
            .map_err(StoreError::db("looking for older records"))
    }
}
