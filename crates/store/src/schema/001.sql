-- Times are microseconds since 1970 unless a name says _s; revs are the 64-bit number of a TID; CIDs are 36 bytes, digests their last 32.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;

-- One per hosted DID. `repo` names the current repo: an import fills another one and switches.
CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    did TEXT NOT NULL UNIQUE,
    handle TEXT NOT NULL UNIQUE,
    email TEXT UNIQUE,
    email_confirmed_at INTEGER,
    password_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    status TEXT NOT NULL,
    repo INTEGER NOT NULL,
    preferences BLOB
) STRICT;

-- The head of a repo. `flushed_*`: the tree whose nodes the table `node` holds, and the newest event that it includes;
-- the nodes made since are in the frames of the later events.
CREATE TABLE repo (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    commit_block BLOB NOT NULL,
    rev INTEGER NOT NULL,
    root BLOB NOT NULL,
    flushed_root BLOB NOT NULL,
    flushed_seq INTEGER NOT NULL
) STRICT;

-- Records and nodes: names in one table, what they name in another, so that no name is stored twice. Bodies are not
-- WITHOUT ROWID: they would not fit into a quarter of a page, and each would take a page of its own more.
--
-- `path` is `collection/rkey`: its byte order is the tree's key order. `digest` is the SHA-256 in the record's CID, `body`
-- the record as it was signed.
CREATE TABLE record_name (
    repo INTEGER NOT NULL,
    path TEXT NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (repo, path)
) WITHOUT ROWID, STRICT;
CREATE TABLE record_body (
    id INTEGER PRIMARY KEY,
    rev INTEGER NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
-- CROSS JOIN: by name first, whatever the planner thinks of it.
CREATE VIEW record AS
    SELECT repo, path, digest, rev, body FROM record_name CROSS JOIN record_body ON id = record;

-- `packed` is the node's block without what every node has: see node.rs.
CREATE TABLE node_name (
    repo INTEGER NOT NULL,
    digest BLOB NOT NULL,
    node INTEGER NOT NULL,
    PRIMARY KEY (repo, digest)
) WITHOUT ROWID, STRICT;
CREATE TABLE node_body (
    id INTEGER PRIMARY KEY,
    rev INTEGER NOT NULL,
    packed BLOB NOT NULL
) STRICT;
CREATE VIEW node AS
    SELECT repo, digest, rev, packed FROM node_name CROSS JOIN node_body ON id = node;

-- `frame` is the finished WebSocket message.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    at INTEGER NOT NULL,
    frame BLOB NOT NULL
) STRICT;

-- Repos that nothing points to; their rows are removed in slices. `staged` = 1: an import is filling it.
CREATE TABLE doomed_repo (repo INTEGER PRIMARY KEY, staged INTEGER NOT NULL) STRICT;

-- `temp` = 1 until a record refers to it.
CREATE TABLE blob (
    account INTEGER NOT NULL,
    cid BLOB NOT NULL,
    mime TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    temp INTEGER NOT NULL,
    PRIMARY KEY (account, cid)
) WITHOUT ROWID, STRICT;
CREATE INDEX blob_temp ON blob (created_at) WHERE temp = 1;

CREATE TABLE record_blob (
    repo INTEGER NOT NULL,
    cid BLOB NOT NULL,
    path TEXT NOT NULL,
    rev INTEGER NOT NULL,
    PRIMARY KEY (repo, cid, path)
) WITHOUT ROWID, STRICT;
CREATE INDEX record_blob_path ON record_blob (repo, path);

-- Files whose row is gone; removed after the commit, and again at start-up in case that was cut short.
CREATE TABLE doomed_file (path TEXT PRIMARY KEY) WITHOUT ROWID, STRICT;

CREATE TABLE refresh_token (
    id TEXT PRIMARY KEY,
    account INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    next_id TEXT,
    app_password TEXT
) WITHOUT ROWID, STRICT;
CREATE INDEX refresh_token_account ON refresh_token (account);
CREATE INDEX refresh_token_expires ON refresh_token (expires_at);

CREATE TABLE app_password (
    account INTEGER NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    privileged INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID, STRICT;

CREATE TABLE email_token (
    account INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    hash BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (account, purpose)
) WITHOUT ROWID, STRICT;

-- Account creations under way: what must be sent outside is here, durable, before it is sent.
CREATE TABLE intent (
    id INTEGER PRIMARY KEY,
    did TEXT NOT NULL UNIQUE,
    handle TEXT NOT NULL UNIQUE,
    email TEXT UNIQUE,
    password_hash TEXT NOT NULL,
    plc_operation BLOB,
    created_at INTEGER NOT NULL
) STRICT;
