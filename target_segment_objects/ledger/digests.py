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
"""An object's id as it is stored: a plain integer as an `int`, which takes less space.

In one with a backslash, backslashes are doubled, and NUL is `\\0`: SQLite's JSON functions end a
string at NUL.
"""

DIGEST_BYTES: Final = 8

MAX_INTEGER_DIGITS: Final = 18  # more may not fit into SQLite's integers

_ESCAPE: Final = re.compile(r"\\[\\0]")

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
    if _are_plain_integers(ids, joined):
        return [*map(int, ids)]
    texts = joined.decode().split('"')
    if any(map(str.isdigit, texts)):
        return [*map(to_object_id, texts)]
    return texts  # type: ignore[return-value] # a list of str is one of ObjectId, if nobody adds


def _are_plain_integers(ids: Sequence[bytes], joined: bytes) -> bool:
    """Return whether all are written as integers from 1: the usual case, and a fast one."""
    return (
        joined.replace(b'"', b"").isdigit()
        and not joined.startswith(b"0")
        and b'"0' not in joined
        and max(map(len, ids)) <= MAX_INTEGER_DIGITS
    )


def format_object_id(object_id: ObjectId) -> str:
    """Return a stored id as it is sent."""
    if isinstance(object_id, int) or "\\" not in object_id:
        return str(object_id)
    return _ESCAPE.sub(lambda match: "\0" if match[0] == r"\0" else "\\", object_id)


def to_object_id(text: str) -> ObjectId:
    """Return an id as it is stored."""
    if "\\" in text or "\0" in text:
        return text.replace("\\", r"\\").replace("\0", r"\0")
    is_plain = text.isascii() and text.isdigit() and (text[0] != "0" or text == "0")
    return int(text) if is_plain and len(text) <= MAX_INTEGER_DIGITS else text


def compile_digest(ignored: Collection[str]) -> Callable[[bytes], bytes]:
    """Return what computes the digest of an object's line without some of its properties."""
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
