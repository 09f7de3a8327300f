"""Runs a query that a user wrote: it reads the tables of the warehouse, and nothing else.

Four rules, each of which holds by itself:

- DuckDB has no access to files, to the network or to extensions, and its settings are locked
  (`database_file`, `database`).
- The transaction is read-only.
- There is one statement, and it is a SELECT by its syntax tree: no node that writes, which DuckDB
  also takes within a SELECT, and only table functions of a list. Others have effects outside of a
  transaction: `enable_logging` can end the whole process.
- A time limit, a limit of rows and a limit of bytes.

A view or a macro of a file that someone else has made would hide what it calls. So a warehouse with
any, which no sandbox creates, takes no query.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb

from target_segment_objects.sandbox.errors import RefusedQueryError
from target_segment_objects.sandbox.warehouse.database_file import describe_error

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_QUERY_CHARACTERS: Final = 10_000
QUERY_SECONDS: Final = 5.0
"""How long a query may run, with the reading of its rows."""

MAX_RESULT_BYTES: Final = 50_000_000
"""Limit of the text in a result, which is kept in memory."""

_INTERRUPT_AGAIN_SECONDS: Final = 0.1
_FETCHED_ROWS: Final = 100

_QUERY_NODES: Final = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
)
_TABLE_FUNCTIONS: Final = frozenset(
    {"duckdb_columns", "duckdb_tables", "generate_series", "json_each", "json_tree"}
    | {"pragma_table_info", "range", "unnest"}
)
"""Table functions that only read tables, the catalog or their arguments."""

_REFUSED_FUNCTIONS: Final = frozenset(
    {"currval", "nextval", "setseed", "setval", "sleep_ms", "write_log"}  # have an effect
    # Make a value of any size at once, which neither the time limit nor the memory limit stops.
    | {"array_resize", "bar", "format", "generate_series", "list_resize", "lpad", "printf"}
    | {"range", "repeat", "rpad"}
)

_FOREIGN_CODE: Final = """
SELECT EXISTS (FROM duckdb_views() WHERE NOT internal)
OR EXISTS (FROM duckdb_functions() WHERE NOT internal)
"""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The rows of a query.

    Attributes:
        columns: The names of its columns, which may occur twice.
        types: Their types.
        rows: The rows, as many as were asked for.
        is_truncated: Whether the query has more rows.
        seconds: How long it took.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_truncated: bool
    seconds: float


def run_query(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    *,
    max_rows: int,
    max_seconds: float = QUERY_SECONDS,
) -> QueryResult:
    """Run a query.

    Args:
        connection: A connection of its own, without a transaction.
        sql: One SELECT.
        max_rows: How many rows to return.
        max_seconds: When to stop it.

    Raises:
        RefusedQueryError: It is no query of the warehouse, has an error, or takes too long.
    """
    began = time.monotonic()
    connection.execute("BEGIN TRANSACTION READ ONLY")
    with _one_line_errors(max_seconds), _interrupted_after(connection, max_seconds):
        statement = _parse_query(connection, sql)
        result = connection.execute(statement)
        description = result.description or []
        rows = _fetch_rows(result, max_rows + 1)
    return QueryResult(
        columns=tuple(str(column[0]) for column in description),
        types=tuple(str(column[1]) for column in description),
        rows=rows[:max_rows],
        is_truncated=len(rows) > max_rows,
        seconds=time.monotonic() - began,
    )


def _fetch_rows(result: duckdb.DuckDBPyConnection, count: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    size = 0
    while len(rows) < count and (fetched := result.fetchmany(min(_FETCHED_ROWS, count))):
        rows += fetched
        size += sum(
            len(value) for row in fetched for value in row if isinstance(value, str | bytes)
        )
        if size > MAX_RESULT_BYTES:
            message = f"The result is larger than {MAX_RESULT_BYTES:,} bytes: select less"
            raise RefusedQueryError(message)
    return rows


@contextmanager
def _interrupted_after(connection: duckdb.DuckDBPyConnection, max_seconds: float) -> Iterator[None]:
    """Interrupt what is running after this time, until it has ended."""
    has_ended = threading.Event()

    def interrupt() -> None:
        seconds = max_seconds
        while not has_ended.wait(seconds):
            connection.interrupt()
            seconds = _INTERRUPT_AGAIN_SECONDS  # the first may have come between two statements

    watch = threading.Thread(target=interrupt, name="segment-sandbox-query", daemon=True)
    watch.start()
    try:
        yield
    finally:
        has_ended.set()
        watch.join()


@contextmanager
def _one_line_errors(max_seconds: float) -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException as error:
        message = f"The query was stopped after {max_seconds:g} seconds"
        raise RefusedQueryError(message) from error
    except duckdb.OutOfMemoryException as error:
        message = "The query needs more memory than the sandbox gives it"
        raise RefusedQueryError(message) from error
    except duckdb.Error as error:
        raise RefusedQueryError(describe_error(error)) from error


def _parse_query(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """Return the only statement of a text, which is a query that may be run.

    Raises:
        RefusedQueryError: It is not.
    """
    if len(sql) > MAX_QUERY_CHARACTERS:
        message = f"The query is longer than {MAX_QUERY_CHARACTERS:,} characters"
        raise RefusedQueryError(message)
    if any("\ud800" <= character <= "\udfff" for character in sql):  # DuckDB takes UTF-8
        raise RefusedQueryError("The query has an unpaired surrogate")
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        message = f"One statement can be run, and not {len(statements)}"
        raise RefusedQueryError(message)
    [statement] = statements
    if statement.type != duckdb.StatementType.SELECT:
        kind = statement.type.name.replace("_", " ")
        message = f"Only SELECT can be run, and not {kind}: the warehouse is read-only here"
        raise RefusedQueryError(message)
    [(has_foreign_code,)] = connection.execute(_FOREIGN_CODE).fetchall()
    if has_foreign_code:
        raise RefusedQueryError(
            "The warehouse has views or macros, which no sandbox creates: no query is run on it"
        )
    _check_tree(_read_tree(connection, statement.query))
    return statement


def _read_tree(connection: duckdb.DuckDBPyConnection, sql: str) -> object:
    [(text,)] = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    try:
        tree = json.loads(text)
    except RecursionError as error:
        raise RefusedQueryError("The query is nested too deeply") from error
    if tree["error"]:
        message = f"The query cannot be checked: {tree.get('error_message', '')}"
        raise RefusedQueryError(message)
    return tree


def _check_tree(tree: object) -> None:
    """Check each node of a syntax tree.

    Raises:
        RefusedQueryError: One is not known to only read.
    """
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += _check_node(node)


def _check_node(node: dict[str, Any]) -> list[object]:
    """Check a node, and return what is in it."""
    kind = node.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _QUERY_NODES:
        statement = kind.removesuffix("_NODE").removesuffix("_QUERY")
        message = f"Only SELECT can be run, and not {statement}: the warehouse is read-only here"
        raise RefusedQueryError(message)
    if kind == "TABLE_FUNCTION":
        function = node["function"]
        if _get_function_name(function) not in _TABLE_FUNCTIONS:
            name = function.get("function_name", "")
            message = f"The table function {name} cannot be used: a query reads tables only"
            raise RefusedQueryError(message)
        # Not the function itself: `range` is refused only where it makes one value.
        return [*function.values(), *(node[name] for name in node if name != "function")]
    if _get_function_name(node) in _REFUSED_FUNCTIONS:
        message = f"The function {node['function_name']} cannot be used"
        raise RefusedQueryError(message)
    return list(node.values())


def _get_function_name(node: dict[str, Any]) -> str:
    """Return the name of the function that a node calls, in lower case; DuckDB ignores case."""
    return str(node.get("function_name", "")).lower()
