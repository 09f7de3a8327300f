"""Which base addresses the write key may be sent to. Pure; no name is resolved."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import urlsplit

from target_segment_objects.exceptions import InvalidUrlError
from target_segment_objects.loopback import is_loopback

_FORBIDDEN_CHARACTER: Final = re.compile(r"[^!-~]|[@?#\\]")
"""A user name, a query, a fragment, or what two URL parsers may read in two ways."""


def validate_api_url(url: str) -> None:
    """Check that a base address is well-formed and does not expose the write key.

    Raises:
        InvalidUrlError: It is not an http(s) address, or it is plain `http://` to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or _FORBIDDEN_CHARACTER.search(url):
        # What is before an @ may be a password.
        given = "is not valid" if "@" in url else f"cannot be {json.dumps(url)}"
        msg = f'api_url {given}: it must be a URL like "https://host/path".'
        raise InvalidUrlError(msg)
    if parts.scheme == "http" and not is_loopback(host):
        msg = (
            f'api_url cannot be "{url}": http:// would send the write key unencrypted to another '
            "machine. Use https://."
        )
        raise InvalidUrlError(msg)
