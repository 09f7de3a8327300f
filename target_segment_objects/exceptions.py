"""Every error that a user can meet.

    SegmentObjectsError
    ├── InputError                the tap's output cannot be processed from here on
    │   ├── InvalidMessageError       a line is not a Singer message
    │   └── UnmappableStreamError     a stream has no names that Segment would accept
    ├── InvalidRecordError        one record cannot be sent; others can
    │   └── MissingKeyError           … because a key property has no value
    ├── RejectLimitError          more records were rejected than the settings allow
    ├── DeletedLimitError         more rows are gone than the settings allow to mark
    ├── ConfigurationError        a setting is wrong, which only shows when the run opens
    │   └── WrongLedgerError          … it names the ledger of something else; also a LedgerError
    ├── SpoolError                a local file cannot be written or read
    ├── LedgerError               the ledger cannot be used: in use, foreign, damaged, not writable
    │   └── LedgerInUseError          … because another process is using it
    ├── OutputError               STATE cannot be written to standard output
    ├── DeliveryAbortedError      delivery was stopped before it was complete
    ├── InvalidWriteKeyError      what was given cannot be a write key
    ├── InvalidUrlError           the base address is malformed or would expose the write key
    ├── SessionStateError         a bulk session was used out of order: a bug of the caller
    └── ApiError                  a call to Segment did not succeed
        ├── TransientApiError         no response, or one that may improve; no retry is left
        │   ├── UnreachableError          … because no connection could be established
        │   └── UploadOrderError          … and an earlier upload may still take effect, too late
        └── PermanentApiError         a response that a retry would not change
            ├── AuthenticationError       the write key is not accepted
            └── SessionExpiredError       Segment does not know the bulk session any more

Invalid settings are the SDK's `ConfigValidationError`, which its command line prints.

The rule for others: a message says what happened and what to do, in a line or two. It never holds
the write key or the content of a record.
"""

from __future__ import annotations

import errno
from typing import Final


class SegmentObjectsError(Exception):
    """The base of all errors of this package; its text is meant for the user."""


class ConfigurationError(SegmentObjectsError):
    """A setting is wrong, which only shows when the run opens. Nothing was read or sent."""


class InputError(SegmentObjectsError):
    """The tap's output, or what a program passes as rows, cannot be processed from here on."""


class InvalidMessageError(InputError):
    """A line of the input is not UTF-8, not JSON or not a Singer message."""


class UnmappableStreamError(InputError):
    """The name of a stream or property has no character that Segment would accept."""


class InvalidRecordError(SegmentObjectsError):
    """One record cannot be sent.

    Attributes:
        stream: The stream's name.
        reason: Why, without the value.
        field: The property at fault, if it is one.
        object_id: The id that the object would have had, if it is known.
    """

    def __init__(
        self,
        stream: str,
        reason: str,
        *,
        field: str | None = None,
        object_id: str | None = None,
        hint: str = "",
    ) -> None:
        self.stream = stream
        self.reason = reason
        self.field = field
        self.object_id = object_id
        self.hint = hint
        super().__init__(stream, reason)

    def __str__(self) -> str:
        """Join the parts into the message."""
        parts = [f"stream '{self.stream}'"]
        if self.object_id is not None:
            parts.append(f"object '{self.object_id}'")
        if self.field is not None:
            parts.append(f"property '{self.field}'")
        message = f"Invalid record: {', '.join(parts)}: {self.reason}"
        return f"{message}. {self.hint}" if self.hint else message


class MissingKeyError(InvalidRecordError):
    """A key property is missing, null or empty, so that the object has no id."""


class DeletedLimitError(SegmentObjectsError):
    """More rows are gone at the source than `deleted_limit_percent` allows to mark."""


class RejectLimitError(SegmentObjectsError):
    """More records were rejected than `max_invalid_records` allows."""


_SPOOL_ADVICE: Final = {
    errno.ENOSPC: "Free some space there",
    getattr(errno, "EDQUOT", errno.ENOSPC): "Free some space there",  # Windows has no quotas
    errno.EFBIG: "Free some space there",
    errno.ENOENT: "Check that the folder exists",
    errno.ENOTDIR: "Check that the folder exists",
    errno.EACCES: "Check its permissions",
    errno.EPERM: "Check its permissions",
    errno.EROFS: "Check its permissions",
    errno.EMFILE: "Raise the limit of open files",
    errno.ENFILE: "Raise the limit of open files",
}


class SpoolError(SegmentObjectsError):
    """A batch file, its folder or the dead-letter file cannot be written or read.

    Attributes:
        path: The file or folder.
        names_setting: Whether the message says what can be set instead.

    Args:
        action: What failed: "read", "write", …
        path: The file or folder.
        cause: The operating system's error.
        instead: What the user can set instead, if the error is of a setting's file.
    """

    def __init__(
        self,
        action: str,
        path: object,
        cause: OSError,
        *,
        instead: str | None = None,
    ) -> None:
        reason = cause.strerror or str(cause) or type(cause).__name__
        advice = _SPOOL_ADVICE.get(cause.errno or 0, "Check the disk")
        advice = advice if instead is None else f"{advice}, or set {instead}"
        super().__init__(f"Cannot {action} {path}: {reason}. {advice}.")
        self.path = path
        self.names_setting = instead is not None


class LedgerError(SegmentObjectsError):
    """The ledger cannot be used: in use by another run, foreign, damaged, or not writable."""


class WrongLedgerError(LedgerError, ConfigurationError):
    """`ledger_path` is no ledger, or that of another address or write key."""


class LedgerInUseError(LedgerError):
    """Another process is using the ledger.

    Attributes:
        path: The ledger.
    """

    def __init__(self, path: object) -> None:
        self.path = path
        super().__init__(
            f"Another run is using the ledger {path}. Wait until it has ended, or give each load a "
            "ledger_path of its own."
        )


class OutputError(SegmentObjectsError):
    """STATE cannot be written to standard output."""


class DeliveryAbortedError(SegmentObjectsError):
    """Delivery was stopped before everything was delivered."""


class InvalidWriteKeyError(SegmentObjectsError, ValueError):
    """What was given cannot be a write key. It is not in the message."""

    def __init__(self, write_key: object) -> None:
        given = "is empty" if write_key == "" else "is not valid"
        if not isinstance(write_key, str):
            given = f"cannot be of type {type(write_key).__name__}"
        super().__init__(
            f"The write key {given}. It is a string without spaces, which Segment shows for the "
            "source under its API keys."
        )


class InvalidUrlError(SegmentObjectsError, ValueError):
    """The API's base address is malformed, or would expose the write key to another machine."""


class SessionStateError(SegmentObjectsError, RuntimeError):
    """A step is not legal in the bulk session's state: a bug of the caller."""


class ApiError(SegmentObjectsError):
    """A call to Segment did not succeed.

    Attributes:
        status: The HTTP status of the response; None if there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class TransientApiError(ApiError):
    """There was no response, or one that may improve later.

    Attributes:
        retry_after: Seconds that the response asks to wait, if it does.
        is_response_lost: Whether Segment may have received the request completely, and may still
            carry it out.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        is_response_lost: bool = False,
    ) -> None:
        self.retry_after = retry_after
        self.is_response_lost = is_response_lost
        super().__init__(message, status=status)


class UnreachableError(TransientApiError):
    """No connection could be established: the host is unknown, refuses, or does not respond."""


class UploadOrderError(TransientApiError):
    """An upload of the session may still take effect, behind those that follow it.

    Its response was lost. Send all files of the session again, in a new one.
    """


class PermanentApiError(ApiError):
    """Segment responded, and a retry would not change the response."""


class AuthenticationError(PermanentApiError):
    """Segment does not accept the write key (401 or 403)."""


class SessionExpiredError(PermanentApiError):
    """Segment does not know the bulk session: it expired, was lost, or is finished."""
