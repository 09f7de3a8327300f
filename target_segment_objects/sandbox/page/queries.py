"""The queries of a user: how many at once, and how many rows they return."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from target_segment_objects.sandbox.errors import RefusedQueryError
from target_segment_objects.sandbox.warehouse.read_only_query import QUERY_SECONDS

if TYPE_CHECKING:
    from target_segment_objects.sandbox.warehouse.database import Warehouse
    from target_segment_objects.sandbox.warehouse.read_only_query import QueryResult

MAX_SHOWN_ROWS: Final = 1_000
MAX_DOWNLOADED_ROWS: Final = 100_000
MAX_QUERIES: Final = 2
"""Queries at once. A third one waits for as long as a query may run."""


class QueryRunner:
    """Runs the queries of a user. Thread-safe.

    Args:
        warehouse: What they read.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._slots = threading.BoundedSemaphore(MAX_QUERIES)

    def run_query(self, sql: str, max_rows: int = MAX_SHOWN_ROWS) -> QueryResult:
        """Run a query, and return its first rows.

        Raises:
            RefusedQueryError: It is not run, or fails.
        """
        if not self._slots.acquire(timeout=QUERY_SECONDS):
            raise RefusedQueryError("Other queries are still running: try again")
        try:
            return self._warehouse.run_query(sql, max_rows=max_rows)
        finally:
            self._slots.release()

    def run_whole_query(self, sql: str) -> QueryResult:
        """Run a query, and return all of its rows.

        Raises:
            RefusedQueryError: It is not run, or fails, or has too many rows.
        """
        result = self.run_query(sql, MAX_DOWNLOADED_ROWS)
        if result.is_truncated:
            message = f"The result has more than {MAX_DOWNLOADED_ROWS:,} rows: add a LIMIT"
            raise RefusedQueryError(message)
        return result
