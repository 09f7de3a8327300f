"""Segment's numbers, each once.

The source of a number, where nothing else is said, is Segment's documentation of the Objects Bulk
API. "KB" is 1024 bytes where Segment's own libraries read it so, "MB" is 1,000,000 bytes because
the smaller reading costs nothing.
"""

from __future__ import annotations

from typing import Final

MAX_FILE_BYTES: Final = 512_000_000
"""Bytes of JSON lines in one upload, uncompressed."""

MAX_OBJECT_BYTES: Final = 400 * 1024
"""Bytes of one object's JSON, without the end of its line."""

VALUE_BYTES_LIMIT: Final = 32 * 1024
"""Bytes of UTF-8 that a property's value must stay below (`32 << 10` in objects-go)."""

MAX_ID_CHARACTERS: Final = 100
"""Characters of an object's id, which has at least one."""

MAX_COLLECTION_CHARACTERS: Final = 100
"""Characters of a collection's name: lowercase letters and underscores, none first or last."""

WAREHOUSE_STRING_CHARACTERS: Final = 512
"""Characters that a warehouse's string column keeps (Segment's "Warehouse Schemas")."""

SESSION_TIMEOUT_SECONDS: Final = 600
"""Seconds without a call after which a bulk session is gone."""

MAX_CONCURRENT_REQUESTS: Final = 20
"""Simultaneous requests for one write key, and from one address; Keep Alive counts."""
