"""HTTP Basic authentication by write key, in the form that Segment accepts.

Segment's pages disagree. The Objects API page encodes `write_key:`, with the key as the user name.
The page of the Objects Bulk API tells to encode the write key, and its example (`echo "abc123" |
base64`) encodes the key and a newline. Which of them the service accepts is not documented, so all
are tried; this is our choice. A first Start that is answered 401 is sent again in the next form.
The form that was accepted is kept, and after that a 401 is final.
"""

from __future__ import annotations

import base64
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests


class AuthForm(enum.Enum):
    """What is encoded as credentials, in the order of attempts.

    The value is how messages show it.
    """

    USER_NAME = "write_key:"
    BARE_KEY = "write_key"
    KEY_AND_NEWLINE = "write_key\\n"


class WriteKeyAuth:
    """The credentials of one write key. Threads may share it.

    Attributes:
        form: The form that is sent.
        is_accepted: Whether Segment has accepted it.
    """

    def __init__(self, write_key: str) -> None:
        key = write_key.encode()
        self._tokens = {
            AuthForm.USER_NAME: base64.b64encode(key + b":").decode(),
            AuthForm.BARE_KEY: base64.b64encode(key).decode(),
            AuthForm.KEY_AND_NEWLINE: base64.b64encode(key + b"\n").decode(),
        }
        self.form = AuthForm.USER_NAME
        self.is_accepted = False

    @property
    def tokens(self) -> tuple[str, ...]:
        """What stands for the write key in a request, to be hidden in messages."""
        return tuple(self._tokens.values())

    def add_to(self, request: requests.PreparedRequest, form: AuthForm) -> requests.PreparedRequest:
        """Add the credentials to a request."""
        request.headers["Authorization"] = f"Basic {self._tokens[form]}"
        return request

    def accept(self, form: AuthForm) -> None:
        """Keep the form that Segment has accepted."""
        self.form = form
        self.is_accepted = True
