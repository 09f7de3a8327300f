"""Every error that a user can meet, and what it asks for.

    SegmentObjectsError
    ├── InputError                 what the tap said cannot be read on from here
    │   ├── InvalidMessageError        a line is no Singer message
    │   └── UnmappableStreamError     a stream has no names that Segment could take
    ├── InvalidRecordError         one record cannot be sent; others can
    │   └── MissingKeyError        … because a key property has no value
    ├── SpoolError                 a file on this machine cannot be written or read
    ├── OutputError                STATE cannot be written to standard output
    ├── DeliveryAbortedError       delivery was told to stop before it was done
    ├── InvalidUrlError            the API's base address is unusable, or would expose the write key
    ├── SessionStateError          a bulk session was used out of order: a bug of the caller
    └── ApiError                   a call to Segment did not get the answer it needs
        ├── TransientApiError       no answer, or one that may be better later; no retry is left
        └── PermanentApiError           an answer that trying again does not change
            ├── AuthenticationError    the write key is not accepted
            └── SessionExpiredError   Segment does not know the bulk session any more

What is wrong with the settings is the SDK's `ConfigValidationError`, which its command line prints.

The rule for others: a message says what happened and what to do, in a line or two. It never holds
the write key or what a record contains.
"""

from __future__ import annotations


class SegmentObjectsError(Exception):
    """The base of all errors here; its text is meant for the user as it stands."""


class InputError(SegmentObjectsError):
    """What the tap said cannot be read on from here."""


class InvalidMessageError(InputError):
    """A line of the input is not JSON, not UTF-8 or no Singer message."""


class UnmappableStreamError(InputError):
    """A stream's name, or one of its properties', leaves nothing that Segment could take."""


class InvalidRecordError(SegmentObjectsError):
    """One record cannot be sent.

    Attributes:
        stream: The stream's name.
        reason: Why, without the value.
        field: The property that is the cause, where one is.
        object_id: The id that the object would have had, where there is one.
    """

    def __init__(
        self,
        stream: str,
        reason: str,
        *,
        field: str | None = None,
        object_id: str | None = None,
    ) -> None:
        """Keep the parts, and join them into the message."""
        self.stream = stream
        self.reason = reason
        self.field = field
        self.object_id = object_id
        super().__init__(stream, reason)

    def __str__(self) -> str:
        """Join the parts into the message."""
        parts = [f"stream '{self.stream}'"]
        if self.object_id is not None:
            parts.append(f"object '{self.object_id}'")
        if self.field is not None:
            parts.append(f"property '{self.field}'")
        return f"Invalid record: {', '.join(parts)}: {self.reason}"


class MissingKeyError(InvalidRecordError):
    """A key property is missing, null or empty, so the object would have no id."""


class SpoolError(SegmentObjectsError):
    """A batch file, its folder or the dead-letter file cannot be written or read."""

    def __init__(
        self,
        action: str,
        path: object,
        cause: OSError,
        *,
        instead: str = "spool_dir to another folder",
    ) -> None:
        """Name the path and the operating system's reason, and what to set instead."""
        reason = cause.strerror or str(cause) or type(cause).__name__
        super().__init__(
            f"Cannot {action} {path}: {reason}. Free some space there, or set {instead}."
        )


class OutputError(SegmentObjectsError):
    """STATE cannot be written to standard output."""


class DeliveryAbortedError(SegmentObjectsError):
    """Delivery was told to stop before everything was delivered."""


class InvalidUrlError(SegmentObjectsError, ValueError):
    """The API's base address is malformed, or would expose the write key to another machine."""


class SessionStateError(SegmentObjectsError, RuntimeError):
    """A step is not legal in the bulk session's state: a bug of the caller."""


class ApiError(SegmentObjectsError):
    """A call to Segment did not get the answer that it needs.

    Attributes:
        status: The HTTP status of the answer; None when there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        """Keep the status beside the message."""
        self.status = status
        super().__init__(message)


class TransientApiError(ApiError):
    """There was no answer, or one that may be better later.

    Attributes:
        retry_after: Seconds that the answer asks to wait, where it does.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Keep what the answer asked for beside the message."""
        self.retry_after = retry_after
        super().__init__(message, status=status)


class PermanentApiError(ApiError):
    """Segment answered, and trying the same again would not change the answer."""


class AuthenticationError(PermanentApiError):
    """Segment does not accept the write key (401 or 403)."""


class SessionExpiredError(PermanentApiError):
    """Segment does not know the bulk session: it expired, was lost or is finished."""
