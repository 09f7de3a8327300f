"""Segment's limits, each in one place.

Unless noted otherwise, the source is Segment's documentation of the Objects Bulk API. It does not
say how large a KB and an MB are. Our choice: "KB" is 1024 bytes, as in Segment's own libraries for
messages; "MB" is 1,000,000 bytes, the smaller and so the safer reading.
"""

from __future__ import annotations

from typing import Final

MAX_FILE_BYTES: Final = 512_000_000
"""Uncompressed bytes of JSON lines in one upload."""

MAX_OBJECT_BYTES: Final = 400 * 1024
"""Bytes of one object's JSON, without its line break."""

VALUE_BYTES_LIMIT: Final = 32 * 1024
"""UTF-8 bytes that the value of a property must stay below.

Segment says "32KB". Its libraries read "32KB" of a message as `32 << 10`. Of a value there is no
source: that a KB is 1024 bytes, and that they are bytes of UTF-8, is our choice.
"""

MAX_ID_CHARACTERS: Final = 100
"""Characters of an object's id; the minimum is one."""

MAX_COLLECTION_CHARACTERS: Final = 100
"""Characters of a collection's name: lowercase letters and underscores, no underscore at an end."""

WAREHOUSE_STRING_CHARACTERS: Final = 512
"""Characters that a string column in the warehouse holds (Segment's "Warehouse Schemas")."""

REDSHIFT_STRING_BYTES: Final = 512
"""UTF-8 bytes that a string column in Redshift holds: `VARCHAR(512)` (Segment's "Redshift").

Amazon defines the length of a VARCHAR in bytes, not characters ("Character types").
"""

SESSION_TIMEOUT_SECONDS: Final = 600
"""Seconds without a call after which a bulk session expires."""

MAX_CONCURRENT_REQUESTS: Final = 20
"""Simultaneous requests for one write key, and from one IP address, Keep Alive included."""

MAX_COLLECTION_PROPERTIES: Final = 5_000
"""Properties of a collection that can be selected for a warehouse."""

MAX_COLLECTIONS: Final = 5_000
"""Collections of a source that can be selected for a warehouse."""

MAX_TABLE_COLUMNS: Final = 1_600
"""Columns of a table in Postgres and in Redshift."""

POSTGRES_NAME_BYTES: Final = 63
"""Bytes of a name that Postgres keeps."""

REDSHIFT_NAME_BYTES: Final = 127
"""Bytes of a name that Redshift keeps."""
