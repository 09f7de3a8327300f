"""The tables of a ledger file, and the version of its format.

No record content is stored but ids. A collection and a stream have a number each, so that a row of
`object` takes about 50 bytes.

`object`: what Segment has. `digest` is that of the object that was sent last and accepted; NULL if
the last one was perhaps not accepted. An id that is a plain integer is stored as one. `n` numbers
the objects of the file without large gaps, and never changes: it spreads what is sent again over
the days, and is an object's place in a bitmap. `sent_day` counts days since 1970-01-01 (UTC). The
period after which an object is sent again is in `meta`; see `resending`.

`pending`: what this run has sent, or is about to send; only appended to. `seq` counts the rows of a
collection from 1. The first `accepted` of them, a number of `collection`, are accepted by Segment.
When nothing is under way, `ObjectTable.fold_pending` moves them to `object`.

`property`: what a warehouse cannot forget, the names and types of columns.

`reading`: how the runs have read a stream. `missing`: objects that complete runs of their stream
did not see again; see `missing_objects`. An id that is marked as deleted stays there when the
object is forgotten: its row may return.

A row of `run` without `ended` is that of the current run, or of one that was killed or aborted, or
that could not write the ledger.
"""

from __future__ import annotations

from typing import Final

FORMAT_VERSION: Final = 2
"""Of the file; stored as `PRAGMA user_version`."""

APPLICATION_ID: Final = 0x5345_474C  # "SEGL", so that no other SQLite file is taken for a ledger

TABLES: Final = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;
CREATE TABLE run (
    n INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,       -- as sent_day
    started TEXT NOT NULL,      -- ISO 8601, UTC
    ended TEXT,
    is_complete INTEGER,        -- 1: everything that was read was delivered
    counts TEXT                 -- JSON: collection to the numbers of objects sent and unchanged
);
CREATE TABLE collection (
    n INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    accepted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE stream (
    n INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    collection INTEGER NOT NULL REFERENCES collection,
    key_properties TEXT NOT NULL, -- JSON (null accepts any key)
    fingerprint BLOB NOT NULL,  -- of the names and types of its properties
    last_run INTEGER NOT NULL,
    last_version                -- of ACTIVATE_VERSION
);
CREATE TABLE object (
    collection INTEGER NOT NULL,
    id NOT NULL,                -- INTEGER or TEXT
    stream INTEGER NOT NULL,    -- that it was sent for last
    n INTEGER NOT NULL,
    digest BLOB,
    sent_day INTEGER NOT NULL,
    PRIMARY KEY (collection, id)
) WITHOUT ROWID;
CREATE TABLE pending (
    collection INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id NOT NULL,
    stream INTEGER NOT NULL,
    n INTEGER NOT NULL,
    digest BLOB NOT NULL
);
CREATE TABLE property (
    n INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,       -- JSON
    collection TEXT NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,         -- JSON
    type TEXT,                  -- NULL: every value was null, so there is no column
    UNIQUE (collection, stream, name)
);
CREATE TABLE reading (
    stream TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,  -- of its mapping, key and stream maps
    versions TEXT NOT NULL,     -- JSON: those that messages of its last runs have named
    was_partitioned INTEGER NOT NULL,
    last_run INTEGER NOT NULL,
    judged_run INTEGER NOT NULL -- the last run that read it completely
) WITHOUT ROWID;
CREATE TABLE missing (
    collection INTEGER NOT NULL,
    id NOT NULL,
    stream INTEGER NOT NULL,
    since TEXT NOT NULL,        -- ISO 8601, UTC: the first of the runs
    runs INTEGER NOT NULL,
    counted_at TEXT NOT NULL,   -- ISO 8601, UTC: the last of the runs that counted
    marked_at TEXT,             -- ISO 8601, UTC
    mark_digest BLOB,
    returned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (collection, id)
) WITHOUT ROWID;
"""
