//! SQLite on the disk: what it promises must hold in every state, and without syncs must not.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use rusqlite::{Connection, OpenFlags, Result};

use crate::{Disk, Honesty, Manner, Op, Replay};

/// Points of a log at which the power is cut, per test.
const POINTS: usize = 60;

/// Rows that each test writes, one per transaction.
const ROWS: i64 = 120;

fn open(disk: &Disk) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags_and_vfs(disk.root().join("db"), flags, disk.vfs_name())?;
    conn.busy_timeout(Duration::from_secs(10))?;
    Ok(conn)
}

/// Writes numbered rows, each acknowledged after its commit.
fn write_rows(disk: &Disk, journal: &str, synchronous: &str) -> Result<()> {
    let conn = open(disk)?;
    conn.pragma_update(None, "page_size", 1024)?;
    conn.query_row(&format!("PRAGMA journal_mode={journal}"), [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.query_row("PRAGMA wal_autocheckpoint=60", [], |_| Ok(()))?;
    conn.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)")?;
    for n in 0..ROWS {
        conn.execute("INSERT INTO t VALUES (?1, randomblob(300 + ?1 * 7))", [n])?;
        disk.ack(n.to_string());
    }
    Ok(())
}

struct Found {
    states: usize,
    distinct: usize,
    damaged: usize,
    lost: usize,
}

/// Opens the database in many states as real files, by SQLite's own VFS.
fn check(disk: &Disk) -> Found {
    let log = disk.log();
    let mut rng = Rng::with_seed(11);
    let mut positions: Vec<usize> = (0..POINTS).map(|_| rng.usize(..=log.ops.len())).collect();
    positions.sort_unstable();
    let mut replay = Replay::new(&log);
    let mut found = Found { states: 0, distinct: 0, damaged: 0, lost: 0 };
    let mut prints = HashSet::new();
    for position in positions {
        replay.advance_to(position);
        let is_ack = |op: &&Op| matches!(op, Op::Ack { .. });
        let acknowledged = i64::try_from(log.ops.iter().take(position).filter(is_ack).count()).unwrap();
        for manner in Manner::ALL {
            let image = replay.cut(&mut rng, manner);
            found.states += 1;
            found.distinct += usize::from(prints.insert(image.fingerprint()));
            let dir = crate::scratch().unwrap();
            image.write_to(dir.path()).unwrap();
            match rows(&dir.path().join("db")) {
                Ok(rows) if rows >= acknowledged => assert!(rows <= acknowledged + 1),
                Ok(_) => found.lost += 1,
                Err(_) => found.damaged += 1,
            }
        }
    }
    found
}

fn integrity(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path)?;
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(conn) } else { Err(rusqlite::Error::InvalidQuery) }
}

fn rows(path: &Path) -> Result<i64> {
    let conn = integrity(path)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(0);
    }
    let (count, last): (i64, i64) =
        conn.query_row("SELECT count(*), coalesce(max(n), -1) FROM t", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    assert_eq!(count, last + 1, "rows are lost from the end only");
    Ok(count)
}

fn honest() -> Arc<Disk> {
    Disk::new(Honesty::default()).unwrap()
}

#[test]
fn a_synchronous_log_keeps_every_acknowledged_row_in_every_state() {
    let disk = honest();
    write_rows(&disk, "WAL", "FULL").unwrap();
    let found = check(&disk);
    assert_eq!((found.damaged, found.lost), (0, 0), "of {} states", found.states);
    assert!(found.distinct > found.states / 3, "{} of {} states differ", found.distinct, found.states);
}

#[test]
fn a_rollback_journal_keeps_every_acknowledged_row_only_when_its_removal_is_synced() {
    let disk = honest();
    write_rows(&disk, "DELETE", "EXTRA").unwrap();
    let found = check(&disk);
    assert_eq!((found.damaged, found.lost), (0, 0), "of {} states", found.states);
    // SQLite's own documentation says so of FULL: a journal that comes back undoes the last transaction.
    let disk = honest();
    write_rows(&disk, "DELETE", "FULL").unwrap();
    let found = check(&disk);
    assert!(found.lost > 0 && found.damaged == 0, "{} lost, {} damaged", found.lost, found.damaged);
}

#[test]
fn a_log_synced_at_checkpoints_only_loses_rows_but_is_never_damaged() {
    let disk = honest();
    write_rows(&disk, "WAL", "NORMAL").unwrap();
    let found = check(&disk);
    assert!(found.lost > 0 && found.damaged == 0, "{} lost, {} damaged", found.lost, found.damaged);
}

#[test]
fn without_syncs_rows_are_lost_and_databases_damaged() {
    let lying = Disk::new(Honesty { file: |_| false, dir: |_| true }).unwrap();
    for (disk, synchronous) in [(honest(), "OFF"), (lying, "FULL")] {
        write_rows(&disk, "WAL", synchronous).unwrap();
        let found = check(&disk);
        assert!(found.lost > 0 && found.damaged > 0, "{} lost, {} damaged", found.lost, found.damaged);
    }
}

#[test]
fn connections_in_several_threads_see_one_database() {
    let disk = honest();
    write_rows(&disk, "WAL", "FULL").unwrap();
    let writers = (0..3_i64).map(|writer| {
        let disk = Arc::clone(&disk);
        std::thread::spawn(move || {
            let conn = open(&disk).unwrap();
            for n in 0..40 {
                conn.execute("INSERT INTO t VALUES (?1, randomblob(900))", [1000 * (writer + 1) + n])
                    .unwrap();
            }
        })
    });
    let readers = (0..2).map(|_| {
        let disk = Arc::clone(&disk);
        std::thread::spawn(move || {
            let conn = open(&disk).unwrap();
            let mut seen = 0_i64;
            while seen < ROWS + 120 {
                let now = conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
                assert!(now >= seen, "a commit vanished");
                seen = now;
            }
        })
    });
    let threads: Vec<_> = writers.chain(readers).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let conn = open(&disk).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
    drop(conn);
    assert_eq!(disk.len(&disk.root().join("db-wal")).unwrap(), None, "the last connection removes the log");
}
