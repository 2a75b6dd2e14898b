-- What accounts and their operator need beyond records. Units as in 001.

-- When a switched-off account is to be removed.
ALTER TABLE account ADD COLUMN delete_after INTEGER;
-- `status` is the owner's own choice, 'active' or 'deactivated'. The operator's hold lies over it: its presence, and what
-- the operator said; `suspended` = 1 when it is for a time.
ALTER TABLE account ADD COLUMN takedown_ref TEXT;
ALTER TABLE account ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN deactivated_at INTEGER;
-- 1: the owner gets no invite codes.
ALTER TABLE account ADD COLUMN invites_disabled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN invite_note TEXT;

-- `account`: the DID that may give it away, or `admin`.
CREATE TABLE invite (
    code TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID, STRICT;
CREATE INDEX invite_account ON invite (account);

CREATE TABLE invite_use (
    code TEXT NOT NULL,
    used_by TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (code, used_by)
) WITHOUT ROWID, STRICT;
CREATE INDEX invite_use_by ON invite_use (used_by);

-- The code that a sign-up under way will use.
ALTER TABLE intent ADD COLUMN invite TEXT;

-- Records and blobs that the operator hides. `subject`: `collection/rkey`, or a CID.
CREATE TABLE takedown (
    account INTEGER NOT NULL,
    subject TEXT NOT NULL,
    reference TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account, subject)
) WITHOUT ROWID, STRICT;

-- Signing keys promised to an identity that will come; the file is named by the key.
CREATE TABLE reserved_key (
    public_key TEXT PRIMARY KEY,
    did TEXT UNIQUE,
    created_at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- Changes of an existing identity under way, one at a time: what must be sent outside is here, durable, before it is
-- sent. `handle`: the one that comes with it; nobody else may take it.
CREATE TABLE change (
    account INTEGER PRIMARY KEY,
    handle TEXT UNIQUE,
    plc_operation BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Identities of the kind did:web whose accounts were removed: those that this server gave out are never given again.
CREATE TABLE ended_web (did TEXT PRIMARY KEY) WITHOUT ROWID, STRICT;

-- Lexicons that were resolved; `body` NULL remembers that there was none.
CREATE TABLE lexicon (nsid TEXT PRIMARY KEY, body BLOB, fetched_at INTEGER NOT NULL) STRICT;

-- Likes, reposts, follows and blocks by what they are about. `subject`: 64 bits of a hash of collection and subject,
-- which finds candidates; `tid`: the record's name as a number. Other collections have no rows.
CREATE TABLE backlink (
    repo INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    PRIMARY KEY (repo, subject, tid)
) WITHOUT ROWID, STRICT;
