"""The SQL of the objects that complete runs did not see again; see `missing`."""

from __future__ import annotations

from typing import Final

FIND_UNMARKED: Final = """
    SELECT object.stream, ifnull(missing.runs, 0), missing.since, ifnull(missing.counted_at, '')
    FROM object LEFT JOIN missing USING (collection, id)
    WHERE object.collection = ? AND object.id = ?
        AND (missing.marked_at IS NULL OR missing.returned)
"""

COUNT_KNOWN: Final = """
    SELECT
        (SELECT count(*) FROM object WHERE collection = :collection)
        - (
            SELECT count(*) FROM missing
            JOIN object USING (collection, id) -- else it was forgotten
            WHERE collection = :collection AND marked_at IS NOT NULL AND NOT returned
        )
"""

FIND: Final = """
    SELECT object.n FROM object JOIN collection ON collection.n = object.collection
    WHERE collection.name = ? AND object.id = ?
"""

MARKED_COLLECTIONS: Final = """
    SELECT name, n FROM collection
    WHERE n IN (SELECT collection FROM missing WHERE marked_at IS NOT NULL)
"""

SELECT_MARKED: Final = """
    SELECT id FROM missing WHERE collection = ? AND marked_at IS NOT NULL AND id IN
"""

FIND_MARKED: Final = """
    SELECT stream FROM missing
    WHERE collection = ? AND id = ? AND marked_at IS NOT NULL AND NOT returned
"""

MARK: Final = """
    UPDATE missing SET marked_at = ?, mark_digest = ?, returned = 0 WHERE collection = ? AND id = ?
"""

RETURN: Final = "UPDATE missing SET returned = 1, runs = 0 WHERE collection = ? AND id = ?"

COUNT: Final = """
    INSERT INTO missing (collection, id, stream, since, runs, counted_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        stream = excluded.stream, since = excluded.since, runs = excluded.runs,
        counted_at = excluded.counted_at
"""

DUE: Final = """
    SELECT id, object.n, missing.stream FROM missing JOIN object USING (collection, id)
    WHERE collection = ? AND runs >= ? AND (marked_at IS NULL OR returned)
"""

UNSENT_MARKS: Final = """
    SELECT missing.id, object.n, missing.stream, missing.marked_at, missing.mark_digest
    FROM missing JOIN object USING (collection, id)
    WHERE missing.collection = ? AND missing.id > ? AND missing.marked_at IS NOT NULL
        AND NOT missing.returned AND object.digest IS NOT missing.mark_digest
    ORDER BY missing.id LIMIT ?
"""

NOT_MARKED_AT_SEGMENT: Final = """
    SELECT collection, id, object.n FROM missing JOIN object USING (collection, id)
    WHERE missing.marked_at IS NULL
        OR (NOT missing.returned AND object.digest <> missing.mark_digest)
"""
"""What is not marked, or was about to be when its run was killed: its digest is still the old one.

A digest is NULL, and not another one, from before the mark is sent until it is accepted.
"""

FORGET_ACCEPTED_RETURNS: Final = """
    DELETE FROM missing WHERE returned AND EXISTS (
        SELECT 1 FROM object
        WHERE object.collection = missing.collection AND object.id = missing.id
            AND object.digest <> missing.mark_digest
    )
"""

RECORD_READING: Final = """
    INSERT INTO reading (stream, fingerprint, versions, was_partitioned, last_run, judged_run)
    VALUES (:stream, :fingerprint, :versions, :was_partitioned, :run, :judged_run)
    ON CONFLICT DO UPDATE SET
        fingerprint = :fingerprint, versions = :versions, was_partitioned = :was_partitioned,
        last_run = :run, judged_run = max(judged_run, :judged_run)
"""

STREAMS: Final = """
    SELECT stream.name, stream.n, collection.name, collection.n
    FROM stream JOIN collection ON collection.n = stream.collection
    WHERE stream.fingerprint <> x'' -- else it was forgotten, and has not come again
"""
