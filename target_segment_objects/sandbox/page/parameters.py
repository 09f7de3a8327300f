"""What the path and the query of an address say, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.requests import Request

    from target_segment_objects.sandbox.warehouse.database import Warehouse

_NOT_FOUND: Final = 404
_MAX_DIGITS: Final = 10


def require_collection(warehouse: Warehouse, request: Request) -> str:
    """Return the name of the collection in the path.

    Raises:
        HTTPException: The warehouse does not have it.
    """
    name = str(request.path_params["name"])
    if name not in warehouse.collections():
        raise HTTPException(_NOT_FOUND, "There is no such collection.")
    return name


def parse_number(text: str, default: int, lowest: int, highest: int) -> int:
    """Parse a number in a query, within its limits; what is not a number is the default."""
    is_number = text.isdecimal() and text.isascii() and len(text) <= _MAX_DIGITS
    return min(max(int(text), lowest), highest) if is_number else default
