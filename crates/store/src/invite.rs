//! Invite codes: who may give which away, who used them, which are void.
//!
//! How often an account earns codes is `pds`'s rule; here it is only kept that two requests do not mint the same twice,
//! and that a code is never used more often than it allows.

use std::collections::HashMap;

use atproto::syntax::Did;
use platform::time::TrustedTime;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::Store;
use crate::account::{self, Account, time_to_sql};
use crate::error::StoreError;
use crate::read::Reader;
use crate::writer::Tx;

/// What stands for the operator where an account's DID would stand.
pub const ADMIN: &str = "admin";

/// A code to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInvite {
    /// The code.
    pub code: String,
    /// The DID that may give it away, or [`ADMIN`].
    pub account: String,
    /// The DID that made it, or [`ADMIN`].
    pub created_by: String,
    /// How often it may be used.
    pub uses_max: u32,
}

/// One use of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteUse {
    /// The new account's DID.
    pub used_by: String,
    /// Microseconds since 1970.
    pub used_at_us: u64,
}

/// A code as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The code.
    pub code: String,
    /// The DID that may give it away, or [`ADMIN`].
    pub account: String,
    /// The DID that made it, or [`ADMIN`].
    pub created_by: String,
    /// Microseconds since 1970.
    pub created_at_us: u64,
    /// How often it may be used.
    pub uses_max: u32,
    /// Whether it is void.
    pub disabled: bool,
    /// Its uses, the newest first.
    pub uses: Vec<InviteUse>,
}

/// How a list of codes is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteOrder {
    /// The newest first.
    Recent,
    /// The most used first.
    Usage,
}

/// Whether an account may have invite codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InviteRights {
    /// Codes that it earns are void from the start.
    pub disabled: bool,
    /// What the operator noted.
    pub note: Option<String>,
}

const COLUMNS: &str = "i.code, i.account, i.created_by, i.created_at, i.uses, i.disabled";

impl Store {
    /// Keeps new codes.
    ///
    /// # Errors
    /// A failure of the disk.
    pub async fn add_invites(&self, invites: Vec<NewInvite>, now: TrustedTime) -> Result<(), StoreError> {
        let at = time_to_sql(now.unix_micros());
        self.inner
            .writer()?
            .call(move |tx| invites.iter().try_for_each(|invite| insert(tx, invite, at, false)))
            .await
    }

    /// Keeps the codes that an account has earned, each for one use, unless another request did so meanwhile:
    /// `total_expected` is the number of its own codes that there will be.
    ///
    /// Codes of an account whose rights are taken away are kept too, but void.
    ///
    /// # Errors
    /// [`StoreError::InvitesMinted`], [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn mint_invites(
        &self,
        did: &Did,
        codes: Vec<String>,
        total_expected: usize,
        now: TrustedTime,
    ) -> Result<Vec<Invite>, StoreError> {
        let did = did.clone();
        let at = time_to_sql(now.unix_micros());
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                let disabled = rights(tx.conn, &account)?.disabled;
                let of_account = of_account(tx.conn, did.as_str())?;
                let own = of_account.iter().filter(|invite| invite.created_by != ADMIN).count();
                if own + codes.len() > total_expected {
                    return Err(StoreError::InvitesMinted);
                }
                for code in &codes {
                    let invite = NewInvite {
                        code: code.clone(),
                        account: did.to_string(),
                        created_by: did.to_string(),
                        uses_max: 1,
                    };
                    insert(tx, &invite, at, disabled)?;
                }
                let all = self::of_account(tx.conn, did.as_str())?;
                Ok(all.into_iter().filter(|invite| codes.contains(&invite.code)).collect())
            })
            .await
    }

    /// Makes codes void: those named, and all that the named accounts may give away. Unknown ones are no error.
    ///
    /// # Errors
    /// A failure of the disk.
    pub async fn disable_invites(&self, codes: Vec<String>, accounts: Vec<String>) -> Result<(), StoreError> {
        self.inner
            .writer()?
            .call(move |tx| {
                for code in &codes {
                    tx.set("UPDATE invite SET disabled = 1 WHERE code = ?1", [code])?;
                }
                for account in &accounts {
                    tx.set("UPDATE invite SET disabled = 1 WHERE account = ?1", [account])?;
                }
                Ok(())
            })
            .await
    }

    /// Gives an account the right to invite codes, or takes it away; its present codes stay as they are.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn set_invite_rights(&self, did: &Did, rights: InviteRights) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                tx.set(
                    "UPDATE account SET invites_disabled = ?2, invite_note = ?3 WHERE id = ?1",
                    params![account.id, rights.disabled, rights.note],
                )
            })
            .await
    }
}

impl Reader<'_> {
    /// Finds a code.
    ///
    /// # Errors
    /// When the database fails, as for all that follow.
    pub fn invite(&self, code: &str) -> Result<Option<Invite>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM invite i WHERE i.code = ?1");
        Ok(select(self.conn(), &sql, [code])?.pop())
    }

    /// Tells whether a new account may use a code now; a creation under way counts as a use.
    ///
    /// # Errors
    /// When the database fails.
    pub fn invite_is_available(&self, code: &str) -> Result<bool, StoreError> {
        available(self.conn(), code)
    }

    /// Lists the codes that an account (or [`ADMIN`]) may give away, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn invites_of(&self, account: &str) -> Result<Vec<Invite>, StoreError> {
        of_account(self.conn(), account)
    }

    /// Finds the code that an account came by.
    ///
    /// # Errors
    /// When the database fails.
    pub fn invited_by(&self, did: &Did) -> Result<Option<Invite>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM invite_use u JOIN invite i ON i.code = u.code WHERE u.used_by = ?1 \
             ORDER BY u.used_at DESC LIMIT 1"
        );
        Ok(select(self.conn(), &sql, [did.as_str()])?.pop())
    }

    /// Lists all codes in an order, after the one with this code.
    ///
    /// # Errors
    /// When the database fails. A code that is unknown starts from the beginning.
    pub fn list_invites(
        &self,
        order: InviteOrder,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Invite>, StoreError> {
        // Usage may have changed since the last page; the code breaks ties, so that no page repeats one otherwise.
        let of = |table: &str| match order {
            InviteOrder::Recent => format!("{table}.created_at"),
            InviteOrder::Usage => {
                format!("(SELECT count(*) FROM invite_use u WHERE u.code = {table}.code)")
            }
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM invite i LEFT JOIN invite l ON l.code = ?1 \
             WHERE l.code IS NULL OR {i} < {l} OR ({i} = {l} AND i.code > l.code) \
             ORDER BY {i} DESC, i.code LIMIT ?2",
            i = of("i"),
            l = of("l"),
        );
        select(self.conn(), &sql, params![after, i64::try_from(limit).unwrap_or(i64::MAX)])
    }

    /// Tells whether an account may have invite codes.
    ///
    /// # Errors
    /// When the database fails.
    pub fn invite_rights(&self, account: &Account) -> Result<InviteRights, StoreError> {
        rights(self.conn(), account)
    }
}

fn rights(conn: &Connection, account: &Account) -> Result<InviteRights, StoreError> {
    conn.prepare_cached("SELECT invites_disabled, invite_note FROM account WHERE id = ?1")
        .and_then(|mut s| {
            s.query_row([account.id], |row| Ok(InviteRights { disabled: row.get(0)?, note: row.get(1)? }))
                .optional()
        })
        .map(Option::unwrap_or_default)
        .map_err(StoreError::db("reading the right to invite"))
}

fn of_account(conn: &Connection, account: &str) -> Result<Vec<Invite>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM invite i WHERE i.account = ?1 ORDER BY i.created_at, i.code");
    select(conn, &sql, [account])
}

fn insert(tx: &Tx<'_>, invite: &NewInvite, at: i64, disabled: bool) -> Result<(), StoreError> {
    tx.set(
        "INSERT INTO invite (code, account, created_by, created_at, uses, disabled) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![invite.code, invite.account, invite.created_by, at, invite.uses_max, disabled],
    )
}

fn select(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Invite>, StoreError> {
    let doing = "reading invite codes";
    let mut statement = conn.prepare_cached(sql).map_err(StoreError::db(doing))?;
    let found: Vec<Invite> =
        statement.query_map(params, from_row).and_then(Iterator::collect).map_err(StoreError::db(doing))?;
    let mut uses = HashMap::new();
    for invite in &found {
        uses.insert(invite.code.clone(), uses_of(conn, &invite.code)?);
    }
    let with_uses = |invite: Invite| {
        let uses = uses.remove(&invite.code).unwrap_or_default();
        Invite { uses, ..invite }
    };
    Ok(found.into_iter().map(with_uses).collect())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Invite> {
    Ok(Invite {
        code: row.get(0)?,
        account: row.get(1)?,
        created_by: row.get(2)?,
        created_at_us: row.get::<_, i64>(3)?.unsigned_abs(),
        uses_max: row.get(4)?,
        disabled: row.get(5)?,
        uses: Vec::new(),
    })
}

fn uses_of(conn: &Connection, code: &str) -> Result<Vec<InviteUse>, StoreError> {
    let doing = "reading the uses of a code";
    let mut statement = conn
        .prepare_cached(
            "SELECT used_by, used_at FROM invite_use WHERE code = ?1 ORDER BY used_at DESC, used_by",
        )
        .map_err(StoreError::db(doing))?;
    let rows = statement
        .query_map([code], |row| {
            Ok(InviteUse { used_by: row.get(0)?, used_at_us: row.get::<_, i64>(1)?.unsigned_abs() })
        })
        .map_err(StoreError::db(doing))?;
    rows.collect::<Result<_, _>>().map_err(StoreError::db(doing))
}

/// Tells whether a code may be used once more: it is there and not void, its giver is not taken down, and its uses with
/// the creations under way leave one.
pub(crate) fn available(conn: &Connection, code: &str) -> Result<bool, StoreError> {
    let sql = "SELECT i.uses - (SELECT count(*) FROM invite_use u WHERE u.code = i.code) \
               - (SELECT count(*) FROM intent n WHERE n.invite = i.code) \
               FROM invite i LEFT JOIN account a ON a.did = i.account \
               WHERE i.code = ?1 AND i.disabled = 0 AND a.takedown_ref IS NULL";
    let left: Option<i64> = conn
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([code], |row| row.get(0)).optional())
        .map_err(StoreError::db("looking for an invite code"))?;
    Ok(left.is_some_and(|left| left > 0))
}

/// Counts a new account's use of its code.
pub(crate) fn record_use(tx: &Tx<'_>, code: &str, did: &Did, now: TrustedTime) -> Result<(), StoreError> {
    tx.set(
        "INSERT OR IGNORE INTO invite_use (code, used_by, used_at) VALUES (?1, ?2, ?3)",
        params![code, did.as_str(), time_to_sql(now.unix_micros())],
    )
}
