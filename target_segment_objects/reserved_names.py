"""Names that Segment, a warehouse or Singer keeps for itself, each list with its source.

Data only. The mapping and the sandbox each have rules of their own for these names. They share the
lists, because a second copy of a list would be no second reading of it.
"""

from __future__ import annotations

from typing import Final

SEGMENT_COLUMNS: Final = frozenset({"id", "received_at", "uuid", "uuid_ts", "loaded_at"})
"""Columns that Segment fills itself ("Warehouse Schemas"); `loaded_at` on BigQuery only."""

SYSTEM_COLUMNS: Final = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""System columns of Postgres and Redshift, which no other column may be named after.

Sources: "System Columns" in the documentation of Postgres, "Names and identifiers" in that of
Redshift. Both name `oid`, too: it is one of Redshift's reserved words.
"""

REDSHIFT_RESERVED_WORDS: Final = frozenset(
    """
    aes128 aes256 all allowoverwrite analyse analyze and any array as asc authorization az64
    backup between binary blanksasnull both bytedict bzip2 case cast check collate column
    constraint create credentials cross current_date current_time current_timestamp current_user
    current_user_id default deferrable deflate defrag delta delta32k desc disable distinct do
    else emptyasnull enable encode encrypt encryption end except explicit false for foreign
    freeze from full globaldict256 globaldict64k grant group gzip having identity ignore ilike
    in initially inner intersect interval into is isnull join leading left like limit localtime
    localtimestamp lun luns lzo lzop minus mostly16 mostly32 mostly8 natural new not notnull
    null nulls off offline offset oid old on only open or order outer overlaps parallel
    partition percent permissions pivot placing primary raw readratio recover references
    rejectlog resort respect restore right select session_user similar snapshot some sysdate
    system table tag tdes text255 text32k then timestamp to top trailing true truncatecolumns
    union unique unnest unpivot user using verbose wallet when where with without
    """.split()  # noqa: SIM905 - a list would take a line for each word
)
"""The page "Reserved words" of the Amazon Redshift Database Developer Guide."""

SNOWFLAKE_RESERVED_WORDS: Final = frozenset(
    """
    all alter and any as between by check column connect constraint create current current_date
    current_time current_timestamp current_user delete distinct drop else exists following for
    from grant group having in insert intersect into is like localtime localtimestamp not null
    of on or order revoke row rows sample select set some start table tablesample then to
    trigger union unique update values whenever where with
    """.split()  # noqa: SIM905 - a list would take a line for each word
)
"""What Snowflake's page "Reserved & limited keywords" calls reserved by ANSI, or no column name."""

DELETION_TIME: Final = "sdc_deleted_at"
"""What a log-based tap's `_sdc_deleted_at` is called in Segment: when a row was deleted."""
