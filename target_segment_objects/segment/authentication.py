"""HTTP Basic authentication by write key, in the form that Segment accepts.

Segment's pages disagree: the Objects API page encodes `write_key:`, with the key as the user name,
and the page of the Objects Bulk API encodes the bare write key. Which of them the service accepts
is not documented, so both are tried; this is our choice. The first Start that is answered 401 is
sent once more in the other form. The form that was accepted is kept, and after that a 401 is final.
"""

from __future__ import annotations

import base64
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests


class AuthForm(enum.Enum):
    """What is encoded as credentials; its value is how messages show it."""

    USER_NAME = "write_key:"
    BARE_KEY = "write_key"


class WriteKeyAuth:
    """The credentials of one write key. Threads may share it.

    Attributes:
        form: The form that is sent.
        is_accepted: Whether Segment has accepted it.
    """

    def __init__(self, write_key: str) -> None:
        """Encode the key in both forms."""
        key = write_key.encode(errors="surrogatepass")
        self._tokens = {
            AuthForm.USER_NAME: base64.b64encode(key + b":").decode(),
            AuthForm.BARE_KEY: base64.b64encode(key).decode(),
        }
        self.form = AuthForm.USER_NAME
        self.is_accepted = False

    @property
    def tokens(self) -> tuple[str, ...]:
        """What stands for the write key in a request, to be hidden in messages."""
        return tuple(self._tokens.values())

    @property
    def other_form(self) -> AuthForm:
        """The form that is not sent."""
        is_user_name = self.form is AuthForm.USER_NAME
        return AuthForm.BARE_KEY if is_user_name else AuthForm.USER_NAME

    def add_to(self, request: requests.PreparedRequest, form: AuthForm) -> requests.PreparedRequest:
        """Add the credentials to a request."""
        request.headers["Authorization"] = f"Basic {self._tokens[form]}"
        return request

    def accept(self, form: AuthForm) -> None:
        """Keep the form that Segment has accepted."""
        self.form = form
        self.is_accepted = True
