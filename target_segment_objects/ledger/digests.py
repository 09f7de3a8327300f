"""What the ledger keeps of an object: its id, and a digest of its line.

A digest has 8 bytes, and is compared with that of the same id only. So a change stays unseen with a
probability of 1 in 2^64 (1.8e19): with ten million changes a night, once in five billion years.
The digest is not a cryptographic one; who can choose an object's properties can only hide a change
of that object.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from xxhash import xxh3_64_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

ObjectId: TypeAlias = int | str
"""An id as the file has it: one that is written as a plain integer is an integer, and smaller."""

MAX_INTEGER_DIGITS: Final = 18  # more may not fit into SQLite's integers

_ID_START: Final = len(b'{"id":"')


class _Object(msgspec.Struct, gc=False):
    """An object's line, with its values as they are written."""

    id: str
    collection: msgspec.Raw
    properties: dict[str, msgspec.Raw]


_decode: Final = msgspec.json.Decoder(_Object).decode
_encode: Final = msgspec.json.Encoder().encode


def read_ids(lines: Sequence[bytes]) -> list[ObjectId]:
    """Return the ids of objects.

    Args:
        lines: The JSON of each object, as the mapping writes it: `{"id":"…","collection":…`.
    """
    ids = [line[_ID_START : line.index(b'"', _ID_START)] for line in lines]
    joined = b'"'.join(ids)  # an id has no quote, unless it is escaped
    if b"\\" in joined:
        return [to_object_id(_decode(line).id) for line in lines]
    texts = joined.decode().split('"')
    if any(map(str.isdigit, texts)):
        return [*map(to_object_id, texts)]
    return texts  # type: ignore[return-value] # a list of str is one of ObjectId, if nobody adds


def to_object_id(text: str) -> ObjectId:
    """Return an id as the file has it."""
    is_plain = text.isascii() and text.isdigit() and (text[0] != "0" or text == "0")
    return int(text) if is_plain and len(text) <= MAX_INTEGER_DIGITS else text


def compile_digest(ignored: Collection[str]) -> Callable[[bytes], bytes]:
    """Return the digest of an object's line, without some of its properties.

    Args:
        ignored: The names of properties, as they are sent.
    """
    if not ignored:
        return xxh3_64_digest
    names = "|".join(re.escape(name) for name in sorted(ignored))
    # In a string, a quote is escaped: `"name":` is always the name of a property.
    find_ignored = re.compile(f'"(?:{names})":'.encode()).search

    def digest_line(line: bytes) -> bytes:
        if find_ignored(line) is None:
            return xxh3_64_digest(line)
        decoded = _decode(line)
        for name in ignored:
            decoded.properties.pop(name, None)
        return xxh3_64_digest(_encode(decoded))

    return digest_line
