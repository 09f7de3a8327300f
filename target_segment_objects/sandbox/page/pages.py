"""The pages as an ASGI application. It answers GET only, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from target_segment_objects.limits import MAX_CONCURRENT_REQUESTS
from target_segment_objects.sandbox.column_names import table_name
from target_segment_objects.sandbox.errors import RefusedQueryError, WarehouseError
from target_segment_objects.sandbox.json_report import render_json
from target_segment_objects.sandbox.middleware import end_quietly, refuse_foreign_requests
from target_segment_objects.sandbox.page import views
from target_segment_objects.sandbox.page.downloads import send_json
from target_segment_objects.sandbox.page.json_api import API_PATH, JsonApi
from target_segment_objects.sandbox.page.parameters import parse_number, require_collection
from target_segment_objects.sandbox.page.queries import MAX_SHOWN_ROWS, QueryRunner
from target_segment_objects.sandbox.page.rendering import Templates, load_static_files
from target_segment_objects.sandbox.page.security import (
    add_security_headers,
    require_token,
)
from target_segment_objects.sandbox.page.timeline import (
    MISSING_STATES,
    group_sessions,
    merge_sessions,
)
from target_segment_objects.sandbox.sessions import read_utc_clock
from target_segment_objects.sandbox.terminal_report import render_report
from target_segment_objects.sandbox.wording import list_special_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from target_segment_objects.sandbox.page.security import PageToken
    from target_segment_objects.sandbox.page.timeline import SessionGroup
    from target_segment_objects.sandbox.request_log import RequestLog
    from target_segment_objects.sandbox.session_queue import SessionQueue
    from target_segment_objects.sandbox.session_record import SessionRecord
    from target_segment_objects.sandbox.sessions import SessionRegistry
    from target_segment_objects.sandbox.warehouse.database import Warehouse

_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503

_OVERVIEW_SESSIONS: Final = 12
_OVERVIEW_COLLECTIONS: Final = 12
_OVERVIEW_LOSSES: Final = 20
_OVERVIEW_REJECTIONS: Final = 5
_MAX_SHOWN_SESSIONS: Final = 200
_MAX_SHOWN_REQUESTS: Final = 100
_MAX_SHOWN_NAMES: Final = 200


class Pages:
    """The pages of a running sandbox.

    Each is rendered in a thread, from one state of the warehouse. It does not wait for a load: the
    sessions that were accepted and are not loaded are shown as such. Only the report, which is sent
    to a terminal, waits until every accepted session is loaded.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        sessions: SessionRegistry,
        requests: RequestLog,
        queue: SessionQueue,
        *,
        token: PageToken,
        host: str,
    ) -> None:
        self._warehouse = warehouse
        self._sessions = sessions
        self._requests = requests
        self._token = token
        self._host = host
        self._queue = queue
        self._queries = QueryRunner(warehouse)
        self._templates = Templates(max_concurrent_requests=MAX_CONCURRENT_REQUESTS)
        self._static_files = load_static_files()

    def build_app(self) -> ASGIApp:
        """Return the ASGI application."""
        paths = {
            "/": self._show_overview,
            "/collections": self._show_collections,
            "/collections/{name}": self._show_collection,
            "/collections/{name}/object": self._show_object,
            "/sessions": self._show_sessions,
            "/sessions/{sync_id}": self._show_session,
            "/requests": self._show_requests,
            "/requests/{number:int}": self._show_rejection,
            "/sql": self._show_sql,
            "/report.txt": self._send_report,
            "/report.json": self._send_json_report,
            "/static/{name}": self._send_static_file,
        }
        routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in paths.items()]
        api = JsonApi(self._warehouse, self._sessions, self._requests, self._queue, self._queries)
        app = Starlette(
            routes=[*routes, *api.build_routes()],
            middleware=[
                Middleware(refuse_foreign_requests, host=self._host, refuse=_refuse_request),
                Middleware(require_token, token=self._token),
            ],
            exception_handlers={HTTPException: self._show_error},
        )
        return add_security_headers(end_quietly(app))

    def _show_overview(self, request: Request) -> Response:
        shown, requests = self._sessions.list_records(), self._requests.take_snapshot()
        with self._warehouse.snapshot() as warehouse:
            overview = views.build_overview(warehouse, shown)
        sessions, collections = overview.sessions, overview.collections
        severity = overview.severity
        if severity == "good" and requests.rejections:
            severity = "warn"
        return self._templates.render_page(
            "overview",
            api_url=str(request.base_url).rstrip("/"),
            result=overview.result,
            severity=severity,
            objects=overview.objects,
            session_count=len(sessions),
            requests=requests,
            rejections=requests.rejections[:_OVERVIEW_REJECTIONS],
            groups=_group_newest(sessions, _OVERVIEW_SESSIONS),
            hidden_sessions=max(0, len(sessions) - _OVERVIEW_SESSIONS),
            missing=[session for session in sessions[::-1] if session.state in MISSING_STATES],
            max_missing=_OVERVIEW_SESSIONS,
            collections=collections,
            max_collections=_OVERVIEW_COLLECTIONS,
            changed_values=sum(collection.changed_values for collection in collections),
            losses=overview.losses,
            max_losses=_OVERVIEW_LOSSES,
        )

    def _show_collections(self, request: Request) -> Response:
        search = request.query_params.get("name", "")
        order = request.query_params.get("sort", "")
        with self._warehouse.snapshot() as warehouse:
            losses = warehouse.losses()
            collections = views.list_collections(warehouse, losses)
            names = list_special_names(warehouse.list_columns())
        return self._templates.render_page(
            "collections",
            count=len(collections),
            collections=views.sort_collections(collections, search, order),
            search=search,
            order=order if order in views.SORT_LABELS else "name",
            sort_labels=views.SORT_LABELS,
            losses=losses if len(losses) > _OVERVIEW_LOSSES else (),
            names=names,
            max_names=_MAX_SHOWN_NAMES,
        )

    def _show_collection(self, request: Request) -> Response:
        search = request.query_params.get("id", "")
        with self._warehouse.snapshot() as warehouse:
            name = require_collection(warehouse, request)
            return self._templates.render_page(
                "collection",
                name=name,
                objects=warehouse.count(name),
                column_count=len(warehouse.columns(name)),
                columns=views.list_columns(warehouse, name),
                query=f'SELECT *\nFROM "{table_name(name)}"\nLIMIT 100',
                search=search,
                rows=views.build_rows(warehouse, name, search, _parse_page_number(request)),
            )

    def _show_object(self, request: Request) -> Response:
        object_id = request.query_params.get("id", "")
        shown = self._sessions.list_records()
        with self._warehouse.snapshot() as warehouse:
            name = require_collection(warehouse, request)
            row = warehouse.find_row(name, object_id)
            if row is None:
                raise HTTPException(_NOT_FOUND, views.NO_OBJECT)
            history = warehouse.find_history(name, object_id)
            sessions = merge_sessions(shown, warehouse.sessions())
            columns = warehouse.columns(name)
            lost = {lost.column: lost for lost in warehouse.lost_values(name, [object_id])}
        return self._templates.render_page(
            "object",
            name=name,
            id=object_id,
            row=row,
            columns=columns,
            lost=lost,
            is_complete=history.is_complete,
            versions=views.build_versions(history.versions, sessions),
        )

    def _show_sessions(self, _: Request) -> Response:
        sessions = views.list_sessions(self._sessions, self._warehouse)
        return self._templates.render_page(
            "sessions",
            count=len(sessions),
            groups=_group_newest(sessions, _MAX_SHOWN_SESSIONS),
            limit=_MAX_SHOWN_SESSIONS,
        )

    def _show_session(self, request: Request) -> Response:
        sync_id = request.path_params["sync_id"]
        sessions = [
            session
            for session in views.list_sessions(self._sessions, self._warehouse)
            if session.sync_id == sync_id
        ]
        if not sessions:
            raise HTTPException(_NOT_FOUND, views.NO_SESSION)
        [group] = group_sessions(sessions, read_utc_clock())
        rejections = [
            record
            for record in self._requests.take_snapshot().rejections
            if record.path.endswith(f"/{sync_id}")
        ]
        return self._templates.render_page(
            "session", drawn=group.sessions[0], session=sessions[0], rejections=rejections
        )

    def _show_requests(self, request: Request) -> Response:
        requests = self._requests.take_snapshot()
        is_rejected_only = "rejected" in request.query_params
        records = requests.rejections if is_rejected_only else requests.requests
        return self._templates.render_page(
            "requests",
            requests=requests,
            is_rejected_only=is_rejected_only,
            records=records[:_MAX_SHOWN_REQUESTS],
        )

    def _show_rejection(self, request: Request) -> Response:
        number = request.path_params["number"]
        for record in self._requests.take_snapshot().rejections:
            if record.rejection_number == number:
                return self._templates.render_page("rejection", record=record)
        raise HTTPException(_NOT_FOUND, "This rejected request is not kept.")

    def _show_sql(self, request: Request) -> Response:
        sql = request.query_params.get("sql", "").strip()
        result, reason = None, ""
        if sql:
            try:
                result = self._queries.run_query(sql)
            except RefusedQueryError as error:
                reason = str(error)
        with self._warehouse.snapshot() as warehouse:
            tables = views.list_tables(warehouse)
        return self._templates.render_page(
            "sql",
            status=400 if reason else 200,
            sql=sql,
            result=result,
            reason=reason,
            tables=tables,
            max_rows=MAX_SHOWN_ROWS,
        )

    def _send_report(self, request: Request) -> Response:
        """Send the report as text to `show`, which cannot open the file while it is served."""
        options = request.query_params

        def render(warehouse: Warehouse, rows: int) -> str:
            return render_report(
                warehouse,
                rows=rows,
                width=parse_number(options.get("width", ""), 100, 20, 1000),
                color_system=options.get("color"),
                is_terminal="terminal" in options,
            )

        return self._send_when_loaded(request, render, "text/plain")

    def _send_json_report(self, request: Request) -> Response:
        """Send the report as JSON to `show`."""

        def render(warehouse: Warehouse, rows: int) -> str:
            return render_json(warehouse, rows=rows)

        return self._send_when_loaded(request, render, "application/json")

    def _send_when_loaded(
        self, request: Request, render: Callable[[Warehouse, int], str], media_type: str
    ) -> Response:
        """Send a report, with as many rows of each collection as requested."""
        try:
            self._queue.wait_until_loaded()
        except WarehouseError as error:
            return PlainTextResponse(str(error), _UNAVAILABLE)
        rows = parse_number(request.query_params.get("rows", ""), 5, 0, 1000)
        with self._warehouse.snapshot() as warehouse:
            return PlainTextResponse(render(warehouse, rows), media_type=media_type)

    def _send_static_file(self, request: Request) -> Response:
        file = self._static_files.get(request.path_params["name"])
        if file is None:
            raise HTTPException(_NOT_FOUND, "There is no such file.")
        return file

    async def _show_error(self, request: Request, error: Exception) -> Response:
        http_error = cast("HTTPException", error)
        detail = http_error.detail
        if request.url.path.startswith(API_PATH):
            return send_json({"error": {"reason": detail}}, http_error.status_code)
        reason = "There is no page at this address." if detail == "Not Found" else detail
        return self._templates.render_page("error", status=http_error.status_code, reason=reason)


def dispatch_pages(api: ASGIApp, pages: ASGIApp) -> ASGIApp:
    """Join API and pages: GET requests go to the pages, but all below /v0 and others to the API."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["method"] in {"GET", "HEAD"} and not scope["path"].startswith("/v0/")
        await (pages if is_page else api)(scope, receive, send)

    return handle


def _group_newest(sessions: Sequence[SessionRecord], count: int) -> list[SessionGroup]:
    return group_sessions(sessions[-count:], read_utc_clock())


def _refuse_request(_: Request, reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", 403)


def _parse_page_number(request: Request) -> int:
    return parse_number(request.query_params.get("page", ""), 1, 1, 10**9)
