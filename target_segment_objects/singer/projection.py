"""Apply a stream map without expressions to lines, without decoding the values that it keeps.

Such a stream map removes and renames properties, and renames the stream: what it makes of a record
is known from the names alone. So a line is decoded only to the JSON texts of its properties, and
these make the line of the changed record.

The rule that makes this safe: a line that cannot be changed in this way is left to the SDK.
"""

from __future__ import annotations

import ast
import fnmatch
import itertools
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import astuple
from singer_sdk.mapper import CustomStreamMap

from target_segment_objects.mapping.object_ids import METADATA_PREFIX
from target_segment_objects.mapping.record_types import define_message_type, is_plain_name
from target_segment_objects.mapping.values import DECODING_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from singer_sdk.mapper import StreamMap

_SHORT_BYTES: Final = 64  # only a short record may be empty
_REMOVED: Final = frozenset({None, "__NULL__"})
_OPTIONS: Final = frozenset({"__alias__", "__else__", "__key_properties__"})
_ENCODER: Final = msgspec.json.Encoder()
_MEMBERS: Final = ("time_extracted", "version")  # what the metadata needs of a message
_NO_PROPERTIES: Final = frozenset(
    {"_", "record", "config", "self", "fake", "__stream_name__", "__original_stream_name__"}
)
"""Names that have another meaning in an expression."""


class Projection(msgspec.Struct, frozen=True):
    """What a stream map without expressions makes of the properties of a record.

    Attributes:
        sources: For each property of the new record, the property that it has the value of.
        required: The properties that a record must have, because an expression names them.
        removed: The other properties that the schema declares or the stream map names.
        key: A property of the new record that the id is made of.
    """

    sources: Mapping[str, str]
    required: Collection[str]
    removed: Collection[str]
    key: str

    @property
    def is_identity(self) -> bool:
        """Whether each property stays what it is."""
        names = self.sources.items()
        return not (self.removed or self.required) and all(new == old for new, old in names)


def find_projection(
    stream_maps: Mapping[str, Any], stream: str, stream_map: StreamMap
) -> Projection | None:
    """Return what a stream map does; None if only the SDK can do it.

    Args:
        stream_maps: The setting `stream_maps`.
        stream: The stream's name, as the tap has it.
        stream_map: The only stream map of the stream.
    """
    # Without a key, a record may have nothing left, and the SDK drops it.
    keys = stream_map.transformed_key_properties or ()
    if (
        type(stream_map) is not CustomStreamMap
        or all(map(_is_metadata, keys))
        or not (is_plain_name(stream) and is_plain_name(stream_map.stream_alias))
    ):
        return None
    definitions = [
        definition
        for name, definition in stream_maps.items()
        if isinstance(definition, dict)
        and "__source__" not in definition
        and fnmatch.fnmatch(stream, name)
    ]
    # The last one counts.
    return _read_projection(definitions[-1], stream_map.raw_schema["properties"], keys)


def _read_projection(
    definition: Mapping[str, Any], declared: Collection[str], keys: Sequence[str]
) -> Projection | None:
    sources = {name: name for name in (keys if "__else__" in definition else declared)}
    required = set()
    for name, expression in definition.items():
        if name in _OPTIONS:
            continue
        source = None if expression in _REMOVED else _read_name(expression)
        if expression in _REMOVED:
            sources.pop(name, None)
        elif source is None or name.startswith("__"):
            return None
        else:
            sources[name] = source
            required.add(source)
    if "__else__" not in definition and not required <= {*declared, *definition}:
        return None  # the SDK also keeps an undeclared property whose value it copies
    removed = {*declared, *definition} - _OPTIONS - {*sources.values()}
    names = (*sources, *sources.values(), *removed)
    key = next((key for key in keys if key in sources and not _is_metadata(key)), None)
    if key is None or not all(map(is_plain_name, names)):
        return None
    return Projection(sources, required, removed, key)


def _is_metadata(name: str) -> bool:
    return name.startswith(METADATA_PREFIX)


def _read_name(expression: str) -> str | None:
    """Return the property that an expression names, if that is all of it."""
    (statement,) = ast.parse(expression).body[:1]
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Name)):
        return None
    return None if statement.value.id in _NO_PROPERTIES else statement.value.id


class LineProjector:
    """Projects the lines of one stream.

    Args:
        stream: The stream's name, as RECORD messages have it.
        alias: Its new name.
        projection: What becomes of the properties.
    """

    def __init__(self, stream: str, alias: str, projection: Projection) -> None:
        self._alias = alias
        self._is_identity = projection.is_identity
        read = [*dict.fromkeys((*projection.sources.values(), *projection.removed))]
        self._positions = [read.index(source) for source in projection.sources.values()]
        self._key_field = f"f{read.index(projection.sources[projection.key])}"
        record_type = Raw if self._is_identity else _define_record(read, projection)
        members = [(name, Raw, UNSET) for name in _MEMBERS]
        message_type = define_message_type(stream, record_type, members)
        self._decode_message = msgspec.json.Decoder(message_type).decode
        self._decode_record = msgspec.json.Decoder(record_type).decode
        self._make_record = msgspec.defstruct(
            "Record",
            [(f"f{position}", Any) for position in range(len(projection.sources))],
            rename={f"f{position}": name for position, name in enumerate(projection.sources)},
            gc=False,
        )
        self._make_message = msgspec.defstruct(
            "Message", [(name, Any) for name in ("type", "stream", "record", *_MEMBERS)], gc=False
        )

    def project_messages(self, lines: Sequence[bytes]) -> list[bytes | None]:
        """Return the changed line of each RECORD message; None for one that is left to the SDK."""
        messages = [
            None if message is None or self._may_be_empty(message.record) else message
            for message in _decode_lines(self._decode_message, lines)
        ]
        decoded = [message for message in messages if message is not None]
        if not decoded:
            return [None] * len(lines)
        members = [map(attrgetter(name), decoded) for name in _MEMBERS]
        changed = map(
            self._make_message,
            itertools.repeat("RECORD"),
            itertools.repeat(self._alias),
            self._project_records([message.record for message in decoded]),
            *members,
        )
        return _merge_lines(messages, changed)

    def project_records(self, lines: Sequence[bytes]) -> list[bytes | None]:
        """Return the changed line of each record of BATCH files; None as above."""
        records = [
            None if record is None or self._may_be_empty(record) else record
            for record in _decode_lines(self._decode_record, lines)
        ]
        decoded = [record for record in records if record is not None]
        return _merge_lines(records, self._project_records(decoded))

    def _may_be_empty(self, record: Any) -> bool:  # noqa: ANN401 - a struct, or raw JSON
        """Return whether a record may have nothing left: the SDK drops such a record."""
        if self._is_identity:
            return len(record) <= _SHORT_BYTES and not bytes(record).strip(b"{} \t\r\n")
        return getattr(record, self._key_field) is UNSET

    def _project_records(self, records: Sequence[Any]) -> Iterable[Any]:
        if self._is_identity or not records:
            return records
        columns = [*zip(*map(astuple, records), strict=True)]
        return map(self._make_record, *[columns[position] for position in self._positions])


def _define_record(names: Sequence[str], projection: Projection) -> type[msgspec.Struct]:
    """Return the type of a record as the tap writes it."""
    # What is removed is decoded, because it has to be JSON like the rest.
    types = [Any if name in projection.removed else Raw for name in names]
    return msgspec.defstruct(
        "Record",
        [
            (f"f{at}", types[at]) if name in projection.required else (f"f{at}", types[at], UNSET)
            for at, name in enumerate(names)
        ],
        rename={f"f{at}": name for at, name in enumerate(names)},
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _decode_lines(decode: Callable[[bytes], Any], lines: Sequence[bytes]) -> list[Any]:
    """Return the decoded lines; None for one that does not have the type."""
    decoded = []
    for line in lines:
        try:
            decoded.append(decode(line))
        except DECODING_ERRORS:
            decoded.append(None)
    return decoded


def _merge_lines(decoded: Sequence[Any], changed: Iterable[Any]) -> list[bytes | None]:
    """Return what was changed as lines, with None in the place of what was not decoded."""
    lines = _ENCODER.encode_lines([*changed]).split(b"\n")[:-1]
    if len(lines) == len(decoded):
        return [*lines]
    remaining = iter(lines)
    return [None if value is None else next(remaining) for value in decoded]
