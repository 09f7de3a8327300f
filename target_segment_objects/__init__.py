"""Singer target that loads any tap's records into Segment's Objects Bulk API.

The names below are the public Python API. `load` loads rows, `Loader` those of several collections;
`Client` and `Session` upload files. docs/python.md shows how to use them. Each is imported when it
is first used, so that neither the Singer SDK nor what draws on a terminal is imported.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # importing `typing` takes time, in which the command handles no signal yet
if TYPE_CHECKING:
    from typing import Any, Final

    from target_segment_objects import limits
    from target_segment_objects.delivery.batch import Batch
    from target_segment_objects.delivery.part_writer import BatchFile
    from target_segment_objects.delivery.scheduler import DeliveryOptions, DeliveryScheduler
    from target_segment_objects.delivery.spool import Spool
    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.exceptions import (
        ApiError,
        AuthenticationError,
        ConfigurationError,
        DeliveryAbortedError,
        InputError,
        InvalidRecordError,
        InvalidUrlError,
        InvalidWriteKeyError,
        LedgerError,
        MissingKeyError,
        PermanentApiError,
        RejectLimitError,
        SegmentObjectsError,
        SessionExpiredError,
        SessionStateError,
        SpoolError,
        TransientApiError,
        UnmappableStreamError,
        UnreachableError,
        UploadOrderError,
    )
    from target_segment_objects.rows.load_result import LoadResult, RejectedRow
    from target_segment_objects.rows.loader import Loader, load
    from target_segment_objects.segment.api import BulkApi
    from target_segment_objects.segment.client import DEFAULT_API_URL, Client
    from target_segment_objects.segment.session import Session

    __version__: str

__all__ = [
    "DEFAULT_API_URL",
    "ApiError",
    "AuthenticationError",
    "Batch",
    "BatchFile",
    "BulkApi",
    "Client",
    "ConfigurationError",
    "DeliveryAbortedError",
    "DeliveryOptions",
    "DeliveryScheduler",
    "InputError",
    "InvalidRecordError",
    "InvalidUrlError",
    "InvalidWriteKeyError",
    "LedgerError",
    "LoadResult",
    "Loader",
    "MissingKeyError",
    "PermanentApiError",
    "RejectLimitError",
    "RejectedRow",
    "SegmentObjectsError",
    "Session",
    "SessionExpiredError",
    "SessionReport",
    "SessionStateError",
    "Spool",
    "SpoolError",
    "TransientApiError",
    "UnmappableStreamError",
    "UnreachableError",
    "UploadOrderError",
    "limits",
    "load",
]

_MODULES: Final = {
    "DEFAULT_API_URL": "segment.client",
    "Batch": "delivery.batch",
    "BatchFile": "delivery.part_writer",
    "BulkApi": "segment.api",
    "Client": "segment.client",
    "DeliveryOptions": "delivery.scheduler",
    "DeliveryScheduler": "delivery.scheduler",
    "LoadResult": "rows.load_result",
    "Loader": "rows.loader",
    "RejectedRow": "rows.load_result",
    "Session": "segment.session",
    "SessionReport": "delivery.uploader",
    "Spool": "delivery.spool",
    "load": "rows.loader",
}
"""Where each name is defined; the errors are in `exceptions`."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a public name when it is first used."""
    if name == "__version__":
        from target_segment_objects.versions import find_version  # noqa: PLC0415 - slow to import

        return find_version("target-segment-objects")
    if name == "limits":
        return importlib.import_module(f"{__name__}.limits")
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'exceptions')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
