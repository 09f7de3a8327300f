"""The content of the pages as JSON, and tables and results of queries as files.

For programs, for example a test that asks what landed: other than the pages, it waits until every
accepted session is loaded.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.routing import Route

from target_segment_objects.sandbox.errors import RefusedQueryError, WarehouseError
from target_segment_objects.sandbox.page import views
from target_segment_objects.sandbox.page.downloads import name_columns, send_json, send_rows
from target_segment_objects.sandbox.page.parameters import parse_number, require_collection
from target_segment_objects.sandbox.wording import list_special_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from target_segment_objects.sandbox.page.queries import QueryRunner
    from target_segment_objects.sandbox.request_log import RequestLog
    from target_segment_objects.sandbox.session_queue import SessionQueue
    from target_segment_objects.sandbox.session_record import SessionRecord
    from target_segment_objects.sandbox.sessions import SessionRegistry
    from target_segment_objects.sandbox.warehouse.database import Warehouse

API_PATH: Final = "/api/"
_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503
_MAX_ROWS: Final = 10**9


class JsonApi:
    """The routes below `/api/`. All of them only read.

    Args:
        warehouse: The warehouse.
        sessions: The sessions of this run.
        requests: The requests of this run.
        queue: The accepted sessions.
        queries: Runs the queries of a user.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        sessions: SessionRegistry,
        requests: RequestLog,
        queue: SessionQueue,
        queries: QueryRunner,
    ) -> None:
        self._warehouse = warehouse
        self._sessions = sessions
        self._requests = requests
        self._queue = queue
        self._queries = queries

    def build_routes(self) -> list[Route]:
        """Return the routes."""
        endpoints: dict[str, Callable[[Request], Response]] = {
            "": self._send_overview,
            "collections": self._send_collections,
            "collections/{name}": self._send_collection,
            "collections/{name}/rows.{kind}": self._send_rows,
            "collections/{name}/object": self._send_object,
            "sessions": self._send_sessions,
            "sessions/{sync_id}": self._send_session,
            "requests": self._send_requests,
            "sql": self._send_result,
            "sql.{kind}": self._send_result_file,
        }
        return [
            Route(API_PATH + path, self._answer_when_loaded(endpoint), methods=["GET"])
            for path, endpoint in endpoints.items()
        ]

    def _answer_when_loaded(
        self, endpoint: Callable[[Request], Response]
    ) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            try:
                self._queue.wait_until_loaded()
            except WarehouseError as error:
                raise HTTPException(_UNAVAILABLE, str(error)) from error
            try:
                return endpoint(request)
            except RefusedQueryError as error:
                raise HTTPException(_BAD_REQUEST, str(error)) from error

        return answer

    def _send_overview(self, _: Request) -> Response:
        shown, requests = self._sessions.list_records(), self._requests.take_snapshot()
        with self._warehouse.snapshot() as warehouse:
            overview = views.build_overview(warehouse, shown)
            names = list_special_names(warehouse.list_columns())
        return send_json(
            {
                "result": overview.result,
                "severity": overview.severity,
                "objects": overview.objects,
                "collections": len(overview.collections),
                "sessions": len(overview.sessions),
                "requests": requests.count,
                "rejected_requests": requests.rejected_count,
                "losses": [asdict(loss) for loss in overview.losses],
                "names": [{"name": name, "remark": remark} for name, remark in names],
            }
        )

    def _send_collections(self, _: Request) -> Response:
        with self._warehouse.snapshot() as warehouse:
            collections = views.list_collections(warehouse, warehouse.losses())
        return send_json([asdict(collection) for collection in collections])

    def _send_collection(self, request: Request) -> Response:
        with self._warehouse.snapshot() as warehouse:
            name = require_collection(warehouse, request)
            columns = views.list_columns(warehouse, name)
            content = {"name": name, "objects": warehouse.count(name)}
        return send_json(content | {"columns": [asdict(column) for column in columns]})

    def _send_rows(self, request: Request) -> Response:
        kind = _require_kind(request)
        options = request.query_params
        with self._warehouse.snapshot() as warehouse:
            name = require_collection(warehouse, request)
            columns = list(warehouse.columns(name))
        rows = self._warehouse.stream_rows(
            name,
            limit=parse_number(options.get("limit", ""), _MAX_ROWS, 0, _MAX_ROWS),
            offset=parse_number(options.get("offset", ""), 0, 0, _MAX_ROWS),
            search=options.get("id", ""),
        )
        return send_rows(name, kind, columns, rows)

    def _send_object(self, request: Request) -> Response:
        object_id = request.query_params.get("id", "")
        with self._warehouse.snapshot() as warehouse:
            name = require_collection(warehouse, request)
            row = warehouse.find_row(name, object_id)
            if row is None:
                raise HTTPException(_NOT_FOUND, views.NO_OBJECT)
            history = warehouse.find_history(name, object_id)
            lost = warehouse.lost_values(name, [object_id])
        versions = [
            asdict(version) | {"properties": dict(version.properties)}
            for version in history.versions
        ]
        return send_json(
            {
                "row": row,
                "lost_values": [asdict(value) for value in lost],
                "versions": versions,
                "is_complete": history.is_complete,
            }
        )

    def _send_sessions(self, _: Request) -> Response:
        return send_json([_describe_session(session) for session in self._list_sessions()])

    def _send_session(self, request: Request) -> Response:
        sync_id = request.path_params["sync_id"]
        for session in self._list_sessions():
            if session.sync_id == sync_id:
                return send_json(_describe_session(session))
        raise HTTPException(_NOT_FOUND, views.NO_SESSION)

    def _send_requests(self, request: Request) -> Response:
        requests = self._requests.take_snapshot()
        is_rejected_only = "rejected" in request.query_params
        records = requests.rejections if is_rejected_only else requests.requests
        return send_json(
            {
                "count": requests.count,
                "rejected_count": requests.rejected_count,
                "requests": [asdict(record) for record in records],
            }
        )

    def _send_result(self, request: Request) -> Response:
        result = self._queries.run_query(request.query_params.get("sql", ""))
        names = name_columns(result.columns)
        return send_json(
            {
                "columns": dict(zip(names, result.types, strict=True)),
                "rows": [dict(zip(names, row, strict=True)) for row in result.rows],
                "is_truncated": result.is_truncated,
                "seconds": round(result.seconds, 3),
            }
        )

    def _send_result_file(self, request: Request) -> Response:
        kind = _require_kind(request)
        result = self._queries.run_whole_query(request.query_params.get("sql", ""))
        return send_rows("result", kind, result.columns, result.rows)

    def _list_sessions(self) -> list[SessionRecord]:
        """Return all sessions, the newest first."""
        return views.list_sessions(self._sessions, self._warehouse)[::-1]


def _describe_session(session: SessionRecord) -> dict[str, Any]:
    return asdict(session) | {"state": session.state}


def _require_kind(request: Request) -> str:
    """Return the kind of file in the path.

    Raises:
        HTTPException: It is neither `csv` nor `json`.
    """
    kind = str(request.path_params["kind"])
    if kind not in {"csv", "json"}:
        raise HTTPException(_NOT_FOUND, "There are files of two kinds: csv and json.")
    return kind
