//! Sessions and one-time codes: refresh tokens, app passwords, codes sent by e-mail.
//!
//! Times are arguments: whoever checks a token has asked the clock whether it may.

use atproto::syntax::Did;
use platform::time::TrustedTime;
use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::account::{self, Account, time_to_sql};
use crate::error::StoreError;

/// How long a used refresh token may be used again, microseconds.
///
/// 2 h as the reference: a client that lost the answer repeats the request and gets the same successor.
const GRACE_US: u64 = 2 * 3600 * 1_000_000;

/// A refresh token to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRefreshToken {
    /// Its `jti`; unguessable.
    pub id: String,
    /// Whose session it is.
    pub did: Did,
    /// When it ends, microseconds since 1970.
    pub expires_at_us: u64,
    /// Name of the app password that opened the session, if any.
    pub app_password: Option<String>,
}

/// What a refresh token was exchanged for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Whose session it is, as stored now.
    pub account: Account,
    /// `jti` of the successor: the proposed one, or the one that an earlier use was given.
    pub next_id: String,
    /// When the successor ends, microseconds since 1970.
    pub expires_at_us: u64,
    /// Name of the app password that opened the session, if any.
    pub app_password: Option<String>,
    /// Whether that app password is a privileged one.
    pub privileged: bool,
}

/// A password for one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPassword {
    /// Its name, unique within the account.
    pub name: String,
    /// As `pds` made it; opaque here.
    pub hash: String,
    /// Whether it may use chat.
    pub privileged: bool,
    /// Microseconds since 1970.
    pub created_at_us: u64,
}

impl Store {
    /// Remembers a new session's refresh token.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn insert_refresh_token(&self, token: NewRefreshToken) -> Result<(), StoreError> {
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &token.did)?;
                insert(tx.conn, &token, account.id)
            })
            .await
    }

    /// Exchanges a refresh token for its successor. Repeating it within two hours gives the same successor.
    ///
    /// # Errors
    /// [`StoreError::SessionOver`] when the token is unknown, expired or used up.
    pub async fn rotate_refresh_token(
        &self,
        id: String,
        proposed_id: String,
        expires_at_us: u64,
        now: TrustedTime,
    ) -> Result<Rotated, StoreError> {
        let now_us = now.unix_micros();
        self.inner.writer()?.call(move |tx| rotate(tx.conn, &id, proposed_id, expires_at_us, now_us)).await
    }

    /// Ends a session. An unknown token is no error.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn revoke_refresh_token(&self, id: String) -> Result<(), StoreError> {
        // The successor of a token in its grace belongs to the same session and ends with it.
        let sql = "DELETE FROM refresh_token WHERE id = ?1 OR id = (SELECT next_id FROM refresh_token WHERE id = ?1)";
        self.inner
            .writer()?
            .call(move |tx| {
                tx.conn
                    .prepare_cached(sql)
                    .and_then(|mut s| s.execute([&id]))
                    .map(|_| ())
                    .map_err(StoreError::db("ending a session"))
            })
            .await
    }

    /// Ends all sessions of an account, or those of one app password.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn revoke_sessions(&self, did: &Did, app_password: Option<String>) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                revoke_all(tx.conn, account.id, app_password.as_deref())
            })
            .await
    }

    /// Adds an app password.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] when the account has one of that name.
    pub async fn add_app_password(&self, did: &Did, password: AppPassword) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                let added = tx
                    .conn
                    .prepare_cached(
                        "INSERT INTO app_password (account, name, hash, privileged, created_at) \
                         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                    )
                    .and_then(|mut s| {
                        s.execute(params![
                            account.id,
                            password.name,
                            password.hash,
                            password.privileged,
                            time_to_sql(password.created_at_us)
                        ])
                    })
                    .map_err(StoreError::db("storing an app password"))?;
                if added == 0 { Err(StoreError::NameTaken { name: password.name }) } else { Ok(()) }
            })
            .await
    }

    /// Removes an app password and ends its sessions. An unknown name is no error.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn remove_app_password(&self, did: &Did, name: String) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                tx.conn
                    .prepare_cached("DELETE FROM app_password WHERE account = ?1 AND name = ?2")
                    .and_then(|mut s| s.execute(params![account.id, name]))
                    .map_err(StoreError::db("removing an app password"))?;
                revoke_all(tx.conn, account.id, Some(&name))
            })
            .await
    }

    /// Remembers the hash of a one-time code; an older one for the same purpose is void.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], or a failure of the disk.
    pub async fn set_email_token(
        &self,
        did: &Did,
        purpose: &'static str,
        hash: [u8; 32],
        expires_at_us: u64,
    ) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| {
                let account = account::require(tx.conn, &did)?;
                tx.conn
                    .prepare_cached(
                        "INSERT INTO email_token (account, purpose, hash, expires_at) VALUES (?1, ?2, ?3, ?4) \
                         ON CONFLICT (account, purpose) DO UPDATE SET hash = ?3, expires_at = ?4",
                    )
                    .and_then(|mut s| {
                        s.execute(params![account.id, purpose, hash, time_to_sql(expires_at_us)])
                    })
                    .map(|_| ())
                    .map_err(StoreError::db("storing a code"))
            })
            .await
    }

    /// Uses a one-time code up.
    ///
    /// # Errors
    /// [`StoreError::TokenInvalid`] when it is wrong, [`StoreError::TokenExpired`] when it is too old.
    pub async fn take_email_token(
        &self,
        did: &Did,
        purpose: &'static str,
        hash: [u8; 32],
        now: TrustedTime,
    ) -> Result<(), StoreError> {
        let did = did.clone();
        self.inner
            .writer()?
            .call(move |tx| take_token(tx.conn, Some(&did), purpose, hash, now).map(|_| ()))
            .await
    }

    /// Uses a one-time code up, whoever's it is; gives its owner.
    ///
    /// # Errors
    /// As [`Store::take_email_token`].
    pub async fn take_email_token_of_anyone(
        &self,
        purpose: &'static str,
        hash: [u8; 32],
        now: TrustedTime,
    ) -> Result<Did, StoreError> {
        self.inner.writer()?.call(move |tx| take_token(tx.conn, None, purpose, hash, now)).await
    }
}

fn take_token(
    conn: &Connection,
    did: Option<&Did>,
    purpose: &'static str,
    hash: [u8; 32],
    now: TrustedTime,
) -> Result<Did, StoreError> {
    let doing = "using a code";
    let found: Option<(i64, i64, String)> = conn
        .prepare_cached(
            "SELECT t.account, t.expires_at, a.did FROM email_token t JOIN account a ON a.id = t.account \
             WHERE t.purpose = ?1 AND t.hash = ?2 AND (?3 IS NULL OR a.did = ?3)",
        )
        .and_then(|mut s| {
            s.query_row(params![purpose, hash, did.map(Did::as_str)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
        })
        .map_err(StoreError::db(doing))?;
    let (account, expires_at, owner) = found.ok_or(StoreError::TokenInvalid)?;
    if expires_at <= time_to_sql(now.unix_micros()) {
        return Err(StoreError::TokenExpired);
    }
    conn.prepare_cached("DELETE FROM email_token WHERE account = ?1 AND purpose = ?2")
        .and_then(|mut s| s.execute(params![account, purpose]))
        .map_err(StoreError::db(doing))?;
    Did::parse(&owner).map_err(|e| StoreError::corrupt(e.to_string()))
}

fn insert(conn: &Connection, token: &NewRefreshToken, account: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO refresh_token (id, account, expires_at, next_id, app_password) VALUES (?1, ?2, ?3, NULL, ?4)",
    )
    .and_then(|mut s| {
        s.execute(params![token.id, account, time_to_sql(token.expires_at_us), token.app_password])
    })
    .map(|_| ())
    .map_err(StoreError::db("storing a session"))
}

fn rotate(
    conn: &Connection,
    id: &str,
    proposed_id: String,
    expires_at_us: u64,
    now_us: u64,
) -> Result<Rotated, StoreError> {
    let doing = "refreshing a session";
    let row = conn
        .prepare_cached(
            "SELECT t.expires_at, t.next_id, t.app_password, a.did, coalesce(p.privileged, 0) \
             FROM refresh_token t JOIN account a ON a.id = t.account \
             LEFT JOIN app_password p ON p.account = t.account AND p.name = t.app_password WHERE t.id = ?1",
        )
        .and_then(|mut s| {
            s.query_row([id], |row| {
                let expires_at: i64 = row.get(0)?;
                let next_id: Option<String> = row.get(1)?;
                let app_password: Option<String> = row.get(2)?;
                let did: String = row.get(3)?;
                let privileged: bool = row.get(4)?;
                Ok((expires_at.unsigned_abs(), next_id, app_password, did, privileged))
            })
            .optional()
        })
        .map_err(StoreError::db(doing))?;
    let Some((old_expires_at_us, next_id, app_password, did, privileged)) = row else {
        return Err(StoreError::SessionOver);
    };
    if old_expires_at_us <= now_us {
        return Err(StoreError::SessionOver);
    }
    let account = account::find(conn, "did", &did)?.ok_or(StoreError::SessionOver)?;
    let used_before = next_id.is_some();
    let next_id = next_id.unwrap_or(proposed_id);
    if !used_before {
        conn.prepare_cached("UPDATE refresh_token SET next_id = ?2, expires_at = ?3 WHERE id = ?1")
            .and_then(|mut s| {
                let until = old_expires_at_us.min(now_us.saturating_add(GRACE_US));
                s.execute(params![id, next_id, time_to_sql(until)])
            })
            .map_err(StoreError::db(doing))?;
    }
    // On a repetition the successor is there already and keeps its own end; when it was revoked the session is over.
    let successor_ends: Option<i64> = conn
        .prepare_cached("SELECT expires_at FROM refresh_token WHERE id = ?1")
        .and_then(|mut s| s.query_row([&next_id], |row| row.get(0)).optional())
        .map_err(StoreError::db(doing))?;
    let expires_at_us = match (successor_ends, used_before) {
        (Some(ends), _) => ends.unsigned_abs(),
        (None, true) => return Err(StoreError::SessionOver),
        (None, false) => {
            let token = NewRefreshToken {
                id: next_id.clone(),
                did: account.did.clone(),
                expires_at_us,
                app_password: app_password.clone(),
            };
            insert(conn, &token, account.id)?;
            expires_at_us
        }
    };
    Ok(Rotated { account, next_id, expires_at_us, app_password, privileged })
}

pub(crate) fn revoke_all(
    conn: &Connection,
    account: i64,
    app_password: Option<&str>,
) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM refresh_token WHERE account = ?1 AND (?2 IS NULL OR app_password = ?2)")
        .and_then(|mut s| s.execute(params![account, app_password]))
        .map(|_| ())
        .map_err(StoreError::db("ending sessions"))
}

/// Lists an account's app passwords by name.
pub(crate) fn app_passwords(conn: &Connection, account: i64) -> Result<Vec<AppPassword>, StoreError> {
    let doing = "listing app passwords";
    let mut statement = conn
        .prepare_cached(
            "SELECT name, hash, privileged, created_at FROM app_password WHERE account = ?1 ORDER BY name",
        )
        .map_err(StoreError::db(doing))?;
    let rows = statement
        .query_map([account], |row| {
            Ok(AppPassword {
                name: row.get(0)?,
                hash: row.get(1)?,
                privileged: row.get(2)?,
                created_at_us: row.get::<_, i64>(3)?.unsigned_abs(),
            })
        })
        .map_err(StoreError::db(doing))?;
    rows.collect::<Result<_, _>>().map_err(StoreError::db(doing))
}
