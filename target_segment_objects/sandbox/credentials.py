"""The write key of a request, in the forms that Segment's pages have for it."""

from __future__ import annotations

import base64
import secrets
from enum import Enum
from typing import Final

from target_segment_objects.sandbox.errors import RejectedRequestError


class AuthForm(Enum):
    """What HTTP Basic encodes. Segment's pages have three forms, and contradict each other."""

    USER_NAME = "user-name"
    """The write key as the user name with an empty password: base64 of `write_key:`."""

    BARE_KEY = "bare-key"
    """The write key alone: base64 of `write_key`."""

    KEY_AND_NEWLINE = "key-and-newline"
    """The write key and a newline, as `echo "write_key" | base64` encodes it."""

    ANY = "any"
    """Each of them."""


_FORM_NAMES: Final = {
    AuthForm.USER_NAME: "`write_key:`",
    AuthForm.BARE_KEY: "`write_key`",
    AuthForm.KEY_AND_NEWLINE: "`write_key` and a newline",
}


def read_write_key(header: str, auth_form: AuthForm, expected: str | None) -> str:
    """Return the write key from the header Authorization.

    `expected` is the only one to accept; None accepts any.

    Raises:
        RejectedRequestError: The header has no write key in an accepted form, or another one.
    """
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        raise _unauthorized_error("the header Authorization must be HTTP Basic with the write key")
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8, or not even ASCII
        raise _unauthorized_error(
            "the credentials in the header Authorization must be base64 of UTF-8"
        ) from None
    write_key, form, password = _split_credentials(decoded)
    if not write_key or password:
        raise _unauthorized_error("the write key must be the user name, with an empty password")
    if auth_form not in {form, AuthForm.ANY}:
        reason = f"this sandbox accepts base64 of {_FORM_NAMES[auth_form]} only"
        raise _unauthorized_error(reason)
    if expected is not None and not secrets.compare_digest(write_key.encode(), expected.encode()):
        raise _unauthorized_error("this sandbox does not accept the write key")
    return write_key


def _split_credentials(decoded: str) -> tuple[str, AuthForm, str]:
    """Return the write key, the form that it has, and the password."""
    write_key, colon, password = decoded.partition(":")
    if colon:
        return write_key, AuthForm.USER_NAME, password
    if decoded.endswith("\n"):
        return decoded[:-1], AuthForm.KEY_AND_NEWLINE, ""
    return decoded, AuthForm.BARE_KEY, ""


def _unauthorized_error(reason: str) -> RejectedRequestError:
    return RejectedRequestError(
        reason, status=401, headers={"WWW-Authenticate": 'Basic realm="write key"'}
    )
