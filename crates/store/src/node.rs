//! Rows of tree nodes: the name in one table, the packed block in another.
//!
//! A node's encoding spends a third of its bytes on what every node has: field names, and the first nine bytes of each
//! link. A row has the rest, and the block is made anew when it is read; whoever loads a tree checks its hash.

use atproto::cbor::{self, Decoder};
use atproto::cid::Cid;
use atproto::syntax::Tid;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::account::tid_to_sql;
use crate::error::StoreError;

/// First byte of a row: the block follows as it is.
const PLAIN: u8 = 0;
/// First byte of a row: entries follow; the node has no first child.
const WITHOUT_LEFT: u8 = 1;
/// First byte of a row: the digest of the first child follows, then entries.
const WITH_LEFT: u8 = 2;

/// Bytes of a SHA-256.
const DIGEST_BYTES: usize = 32;

/// Keeps a node. One that is there already is of this revision then.
pub(crate) fn store(
    conn: &Connection,
    repo: i64,
    cid: &Cid,
    rev: Tid,
    block: &[u8],
) -> Result<(), StoreError> {
    if redate(conn, repo, cid, rev)? {
        return Ok(());
    }
    let add = || -> rusqlite::Result<()> {
        conn.prepare_cached("INSERT INTO node_body (rev, packed) VALUES (?1, ?2)")?
            .execute(params![tid_to_sql(rev), pack(block)])?;
        conn.prepare_cached("INSERT INTO node_name (repo, digest, node) VALUES (?1, ?2, ?3)")?
            .execute(params![repo, cid.digest(), conn.last_insert_rowid()])?;
        Ok(())
    };
    add().map_err(StoreError::db("storing a tree node"))
}

/// Gives a stored node another revision; tells whether it is stored.
pub(crate) fn redate(conn: &Connection, repo: i64, cid: &Cid, rev: Tid) -> Result<bool, StoreError> {
    let sql = "UPDATE node_body SET rev = ?3 \
               WHERE id = (SELECT node FROM node_name WHERE repo = ?1 AND digest = ?2)";
    conn.prepare_cached(sql)
        .and_then(|mut s| s.execute(params![repo, cid.digest(), tid_to_sql(rev)]))
        .map(|changed| changed > 0)
        .map_err(StoreError::db("dating a tree node"))
}

/// Removes a node and its name.
pub(crate) fn remove(conn: &Connection, repo: i64, cid: &Cid) -> Result<(), StoreError> {
    let take = || -> rusqlite::Result<()> {
        let id: Option<i64> = conn
            .prepare_cached("DELETE FROM node_name WHERE repo = ?1 AND digest = ?2 RETURNING node")?
            .query_row(params![repo, cid.digest()], |row| row.get(0))
            .optional()?;
        conn.prepare_cached("DELETE FROM node_body WHERE id = ?1")?.execute([id])?;
        Ok(())
    };
    take().map_err(StoreError::db("removing a tree node"))
}

/// Reads a node's block.
pub(crate) fn read(conn: &Connection, repo: i64, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
    let unpacked = conn
        .prepare_cached("SELECT packed FROM node WHERE repo = ?1 AND digest = ?2")
        .and_then(|mut s| {
            s.query_row(params![repo, cid.digest()], |row| Ok(unpack(row.get_ref(0)?.as_blob()?))).optional()
        })
        .map_err(StoreError::db("reading a tree node"))?;
    match unpacked {
        None => Ok(None),
        Some(Some(block)) => Ok(Some(Bytes::from(block))),
        Some(None) => Err(StoreError::corrupt("a tree node that cannot be unpacked")),
    }
}

/// Revision of the flush that stored a node; a node is never older than what lies below it.
pub(crate) fn rev(conn: &Connection, repo: i64, cid: &Cid) -> Result<Option<i64>, StoreError> {
    conn.prepare_cached("SELECT rev FROM node WHERE repo = ?1 AND digest = ?2")
        .and_then(|mut s| s.query_row(params![repo, cid.digest()], |row| row.get(0)).optional())
        .map_err(StoreError::db("reading a tree node"))
}

/// Removes some nodes of a repo that nothing points to; returns how many.
pub(crate) fn prune(conn: &Connection, repo: i64, limit: i64) -> Result<usize, StoreError> {
    let take = || -> rusqlite::Result<usize> {
        let first = "FROM node_name WHERE repo = ?1 ORDER BY digest LIMIT ?2";
        conn.prepare_cached(&format!("DELETE FROM node_body WHERE id IN (SELECT node {first})"))?
            .execute(params![repo, limit])?;
        conn.prepare_cached(&format!(
            "DELETE FROM node_name WHERE repo = ?1 AND digest IN (SELECT digest {first})"
        ))?
        .execute(params![repo, limit])
    };
    take().map_err(StoreError::db("removing tree nodes of an old repo"))
}

/// Packs a block. What is not the one encoding of a node is kept as it is.
fn pack(block: &[u8]) -> Vec<u8> {
    pack_node(block).unwrap_or_else(|| {
        let mut plain = Vec::with_capacity(block.len() + 1);
        plain.push(PLAIN);
        plain.extend_from_slice(block);
        plain
    })
}

/// Reads strictly, so that only what `unpack` makes anew byte by byte is packed.
///
/// An entry is: bytes shared with the key before; bytes of its own, doubled, plus one if a child follows; these bytes;
/// the digest of its value; that of the child.
fn pack_node(block: &[u8]) -> Option<Vec<u8>> {
    let mut node = Decoder::new(block);
    if node.map().ok()? != 2 {
        return None;
    }
    node.key("e").ok()?;
    let mut entries = Vec::with_capacity(block.len());
    for _ in 0..node.list().ok()? {
        if node.map().ok()? != 4 {
            return None;
        }
        node.key("k").ok()?;
        let suffix = node.bytes().ok()?;
        node.key("p").ok()?;
        let shared = node.uint().ok()?;
        node.key("t").ok()?;
        let right = digest_or_null(&mut node)?;
        node.key("v").ok()?;
        let value = node.link().ok().filter(|cid| !cid.is_raw())?;
        push_number(&mut entries, shared);
        push_number(&mut entries, u64::try_from(suffix.len()).ok()? * 2 + u64::from(right.is_some()));
        entries.extend_from_slice(suffix);
        entries.extend_from_slice(value.digest());
        entries.extend(right.iter().flatten());
    }
    node.key("l").ok()?;
    let left = digest_or_null(&mut node)?;
    node.finish().ok()?;
    let mut packed = Vec::with_capacity(1 + DIGEST_BYTES + entries.len());
    packed.push(if left.is_some() { WITH_LEFT } else { WITHOUT_LEFT });
    packed.extend(left.iter().flatten());
    packed.append(&mut entries);
    Some(packed)
}

fn digest_or_null(node: &mut Decoder<'_>) -> Option<Option<[u8; DIGEST_BYTES]>> {
    match node.link_or_null().ok()? {
        None => Some(None),
        Some(cid) if cid.is_raw() => None,
        Some(cid) => Some(Some(*cid.digest())),
    }
}

/// Makes the block anew; `None` when the row is damaged.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (kind, mut rest) = packed.split_first()?;
    let left = match *kind {
        PLAIN => return Some(rest.to_vec()),
        WITHOUT_LEFT => None,
        WITH_LEFT => Some(take_link(&mut rest)?),
        _ => return None,
    };
    let count = count_entries(rest)?;
    // What an entry is shorter by, at most: 9 bytes of field names and 9 of each link, and longer lengths.
    let mut block = Vec::with_capacity(packed.len() + DIGEST_BYTES + 32 * count);
    cbor::write_map(&mut block, 2);
    cbor::write_text(&mut block, "e");
    cbor::write_list(&mut block, count);
    while !rest.is_empty() {
        let entry = Entry::take(&mut rest)?;
        cbor::write_map(&mut block, 4);
        cbor::write_text(&mut block, "k");
        cbor::write_bytes(&mut block, entry.suffix);
        cbor::write_text(&mut block, "p");
        cbor::write_uint(&mut block, entry.shared);
        cbor::write_text(&mut block, "t");
        write_link_or_null(&mut block, entry.right.as_ref());
        cbor::write_text(&mut block, "v");
        cbor::write_link(&mut block, &entry.value);
    }
    cbor::write_text(&mut block, "l");
    write_link_or_null(&mut block, left.as_ref());
    Some(block)
}

fn count_entries(mut rest: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !rest.is_empty() {
        Entry::take(&mut rest)?;
        count += 1;
    }
    Some(count)
}

struct Entry<'p> {
    shared: u64,
    suffix: &'p [u8],
    value: Cid,
    right: Option<Cid>,
}

impl<'p> Entry<'p> {
    fn take(rest: &mut &'p [u8]) -> Option<Self> {
        let shared = take_number(rest)?;
        let doubled = take_number(rest)?;
        let (suffix, after) = rest.split_at_checked(usize::try_from(doubled / 2).ok()?)?;
        *rest = after;
        let value = take_link(rest)?;
        let right = if doubled % 2 == 1 { Some(take_link(rest)?) } else { None };
        Some(Self { shared, suffix, value, right })
    }
}

fn take_link(rest: &mut &[u8]) -> Option<Cid> {
    let (digest, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(Cid::dag_cbor_of_digest(digest))
}

fn write_link_or_null(block: &mut Vec<u8>, link: Option<&Cid>) {
    match link {
        Some(cid) => cbor::write_link(block, cid),
        None => cbor::write_null(block),
    }
}

/// Appends a number, seven bits to a byte, the lowest first (LEB128).
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use atproto::mst::build_sorted;
    use proptest::prelude::*;

    fn blocks(keys: &[String]) -> Vec<Vec<u8>> {
        let mut blocks = Vec::new();
        let entries = keys.iter().map(|key| (key.clone(), Cid::for_dag_cbor(key.as_bytes())));
        build_sorted(entries.collect::<Vec<_>>(), |_, block| blocks.push(block.to_vec())).unwrap();
        blocks
    }

    proptest! {
        #[test]
        fn every_node_of_a_tree_comes_back_byte_by_byte(
            names in proptest::collection::btree_set("[a-z0-9._~-]{1,200}", 0..300)
        ) {
            let keys: Vec<String> = names
                .iter()
                .filter(|name| !matches!(&name[..], "." | ".."))
                .map(|name| format!("app.bsky.feed.post/{name}"))
                .collect();
            for block in blocks(&keys) {
                let packed = pack(&block);
                prop_assert_ne!(packed[0], PLAIN);
                prop_assert_eq!(unpack(&packed), Some(block));
            }
        }

        #[test]
        fn what_is_no_node_is_kept_as_it_is(block in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(unpack(&pack(&block)), Some(block));
        }

        #[test]
        fn damage_is_seen_or_changes_the_hash(
            at in 0_usize..10_000, bit in 0_u8..8
        ) {
            let keys: Vec<String> = (0..40).map(|number| format!("app.bsky.feed.post/k{number:03}")).collect();
            for block in blocks(&keys) {
                let mut packed = pack(&block);
                let at = at % packed.len();
                packed[at] ^= 1 << bit;
                prop_assert_ne!(unpack(&packed), Some(block));
            }
        }
    }

    #[test]
    fn a_node_of_a_busy_repo_loses_a_quarter() {
        let keys: Vec<String> =
            (0..2000).map(|number| format!("app.bsky.feed.post/3k{number:06}aaaaa")).collect();
        let (before, after) = blocks(&keys)
            .iter()
            .fold((0, 0), |(before, after), block| (before + block.len(), after + pack(block).len()));
        assert!(after * 4 <= before * 3, "{before} bytes became {after}");
    }
}
