"""Reading messages: both decoders, every kind of invalid line, and how reading ends."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import logging
import lzma
import math
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from singer_sdk.singerlib.encoding.base import SingerMessageType

from target_segment_objects.exceptions import InputError, InvalidMessageError
from target_segment_objects.mapping import json_lines
from target_segment_objects.mapping.values import ENCODER, NonFinite
from target_segment_objects.singer import raw_input
from target_segment_objects.singer import reader as singer_reader
from target_segment_objects.singer.reader import MessageReader, ReadingStopped
from target_segment_objects.singer.record_blocks import RecordBlock
from tests.support import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MESSAGE_TYPES = [message_type.value for message_type in SingerMessageType]
STATE_LINE = b'{"type":"STATE","value":1}\n'


def read_messages(
    source: IO[bytes] | IO[str], reader: MessageReader | None = None
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Read to the end; return the messages and their counts."""
    messages: list[dict[str, Any]] = []
    callbacks: dict[str, Callable[[dict[str, Any]], None]] = dict.fromkeys(
        MESSAGE_TYPES, messages.append
    )
    counts = (reader or MessageReader()).process_lines(source, callbacks)
    return messages, dict(counts)


def open_gzip(path: Path) -> IO[bytes]:
    """Open a gzip file for reading."""
    return cast("IO[bytes]", gzip.open(path))


def decode_value(text: str | bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """Decode one JSON value with the reader."""
    raw = text.encode() if isinstance(text, str) else text
    return MessageReader().deserialize_json(b'{"value":' + raw + b"}\n")["value"]


# Input


def test_read_bytes() -> None:
    """Each line is passed to the callback of its type, in order, and counted."""
    lines = b"".join(
        b'{"type":"%b","n":%d}\n' % (name.encode(), n) for n, name in enumerate(MESSAGE_TYPES * 2)
    )
    messages, counts = read_messages(io.BytesIO(lines))
    assert [message["n"] for message in messages] == list(range(10))
    assert counts == dict.fromkeys(MESSAGE_TYPES, 2)


def test_read_strings() -> None:
    """A file of strings is read like one of bytes; the current line is kept as bytes."""
    reader = MessageReader()
    messages, _ = read_messages(io.StringIO('{"type":"STATE","value":"ü"}\n'), reader)
    assert messages == [{"type": "STATE", "value": "ü"}]
    assert reader.line == '{"type":"STATE","value":"ü"}\n'.encode()


@pytest.mark.parametrize(
    "end",
    [b"", b"\n", b"\r\n", b" \t\r\n"],
    ids=["none", "newline", "windows", "blanks"],
)
def test_line_endings(end: bytes) -> None:
    """Windows line endings are accepted, and so is a last line without one."""
    messages, _ = read_messages(io.BytesIO(STATE_LINE.strip() + end))
    assert messages == [{"type": "STATE", "value": 1}]


def test_empty_input() -> None:
    """An empty input is not an error."""
    assert read_messages(io.BytesIO()) == ([], {})


def test_blank_lines_are_skipped() -> None:
    """Before, between and after messages, of any white space, and counted as lines."""
    blank = b"\n \t\r\n\r\n"
    reader = MessageReader()
    content = blank + STATE_LINE + blank + STATE_LINE + blank + b" "
    assert read_messages(io.BytesIO(content), reader)[1] == {"STATE": 2}
    assert reader.line_number == 12
    with pytest.raises(InvalidMessageError, match=r"^Line 5 of the input"):
        read_messages(io.BytesIO(blank + STATE_LINE + b"oops\n"))


REFUSED_FORMATS = {
    "UTF-16": ('{"type":"STATE"}\n'.encode("utf-16"), "UTF-16"),
    "UTF-16, big endian": (b"\xfe\xff" + '{"type":"STATE"}\n'.encode("utf-16-be"), "UTF-16"),
    "UTF-16 without a mark": ('{"type":"STATE"}\n'.encode("utf-16-le"), "UTF-16"),
    "UTF-16-BE without a mark": ('{"type":"STATE"}\n'.encode("utf-16-be"), "UTF-16"),
    "UTF-32": ('{"type":"STATE"}\n'.encode("utf-32"), "UTF-32"),
    "ZIP": (b"PK\x03\x04\x14\x00", "a ZIP archive. Extract it first"),
    "Parquet": (b"PAR1\x15\x04", "a Parquet file"),
    "bzip2": (bz2.compress(b"{}"), "compressed with bzip2"),
    "xz": (lzma.compress(b"{}"), "compressed with xz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04", "compressed with zstd"),
}


@pytest.mark.parametrize("name", REFUSED_FORMATS)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_other_formats_are_named(name: str, compress: Callable[[bytes], bytes]) -> None:
    """What is not JSON lines, and looks like noise, is named as what it is."""
    content, reason = REFUSED_FORMATS[name]
    with pytest.raises(InputError, match=f"^The input cannot be read: it is .*{reason}"):
        read_messages(io.BytesIO(compress(content)))


@pytest.mark.parametrize("open_lines", [io.BytesIO, lambda line: io.StringIO(line.decode())])
@pytest.mark.parametrize("end", [b"", b"\n"], ids=["without end", "with end"])
@pytest.mark.parametrize("before", [0, 600_000], ids=["first", "later"])
def test_longest_line(
    monkeypatch: pytest.MonkeyPatch,
    open_lines: Callable[[bytes], Any],
    end: bytes,
    before: int,
) -> None:
    """A line of the maximum is read, and one byte more is an error with the line's number."""
    maximum = 1_000_000
    for module in (raw_input, singer_reader):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", maximum)
    first = STATE_LINE.strip() + b" " * before + b"\n"
    longest = STATE_LINE.strip().ljust(maximum) + end
    assert read_messages(open_lines(first + longest))[1] == {"STATE": 2}
    too_long = STATE_LINE.strip().ljust(maximum + 1) + end
    reader = MessageReader()
    expected = "^The input cannot be read beyond line 1: line 2 is longer than .*is delivered"
    with pytest.raises(InputError, match=expected):
        read_messages(open_lines(first + too_long), reader)
    assert reader.line_number == 1


def test_read_gzip_file(tmp_path: Path) -> None:
    """An opened gzip file is read, and lines may be long."""
    path = tmp_path / "in.gz"
    long = b'{"type":"STATE","value":"%b"}\n' % (b"x" * 3_000_000)
    path.write_bytes(gzip.compress(STATE_LINE + long))
    with open_gzip(path) as file:
        messages, counts = read_messages(file)
    assert counts == {"STATE": 2}
    assert len(messages[1]["value"]) == 3_000_000


BOM = b"\xef\xbb\xbf"
TWO_LINES = STATE_LINE + b'{"type":"STATE","value":2}\n'


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(TWO_LINES),
        gzip.compress(STATE_LINE) + gzip.compress(TWO_LINES[len(STATE_LINE) :]),
        BOM + TWO_LINES,
        gzip.compress(BOM + TWO_LINES),
        BOM + TWO_LINES.strip(),
    ],
    ids=["gzip", "two gzip members", "byte order mark", "both", "no line ending"],
)
@pytest.mark.parametrize("chunk_bytes", [1, 2, 1000])
def test_gzip_and_byte_order_mark(content: bytes, chunk_bytes: int) -> None:
    """Gzip and a byte order mark are recognised on any input, even if it arrives byte by byte."""
    reader, writer = os.pipe()

    def write_chunks() -> None:
        with open(writer, "wb", buffering=0) as pipe:  # noqa: PTH123 - a file descriptor
            pipe.writelines(
                content[start : start + chunk_bytes]
                for start in range(0, len(content), chunk_bytes)
            )

    with ThreadPoolExecutor(1) as pool, open(reader, "rb") as tap:  # noqa: PTH123 - a file descriptor
        written = pool.submit(write_chunks)
        messages, counts = read_messages(tap)
        written.result(timeout=10)
    assert [message["value"] for message in messages] == [1, 2]
    assert counts == {"STATE": 2}


@pytest.mark.parametrize(
    "content",
    [b"", BOM, gzip.compress(b""), gzip.compress(BOM)],
    ids=["none", "BOM", "gzip", "both"],
)
def test_input_without_lines(content: bytes) -> None:
    """A byte order mark, or gzip, without a line after it is an empty input."""
    assert read_messages(io.BytesIO(content)) == ([], {})


def test_byte_order_mark_of_string_input() -> None:
    """A byte order mark at the start of a file of strings is skipped, too."""
    messages, _ = read_messages(io.StringIO((BOM + TWO_LINES).decode()))
    assert [message["value"] for message in messages] == [1, 2]


def test_byte_order_mark_is_skipped_only_at_the_start() -> None:
    """A byte order mark before a later line is invalid JSON."""
    with pytest.raises(InvalidMessageError, match=r"Line 2 .*invalid JSON at character 1"):
        read_messages(io.BytesIO(STATE_LINE + BOM + STATE_LINE))


@pytest.mark.parametrize("content", [b"\x1f", b"\x1f\x8c", b"\xef\xbb", b"{", b"{}"])
def test_short_input_is_not_lost(content: bytes) -> None:
    """An input shorter than a byte order mark is read, and refused as a line."""
    with pytest.raises(InvalidMessageError, match=r"Line 1 of the input"):
        read_messages(io.BytesIO(content))


def test_gzip_line_is_handled_as_soon_as_it_arrives() -> None:
    """A flushed line of a gzip pipe is handled although the tap goes on."""
    reader, writer = os.pipe()
    compressor = zlib.compressobj(wbits=31)

    def write_line(line: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> None:
        os.write(writer, compressor.compress(line) + compressor.flush(flush))

    seen = []

    def handle(message: dict[str, Any]) -> None:
        seen.append(message["value"])
        if len(seen) < 3:
            write_line(STATE_LINE)
        else:
            write_line(b"", zlib.Z_FINISH)
            os.close(writer)

    write_line(STATE_LINE)
    with open(reader, "rb") as tap:  # noqa: PTH123 - a file descriptor
        MessageReader().process_lines(tap, {"STATE": handle})
    assert seen == [1, 1, 1]


def test_line_is_handled_as_soon_as_it_arrives() -> None:
    """A line is handled although the tap goes on and the buffer is far from full."""
    reader, writer = os.pipe()
    seen = []

    def handle(message: dict[str, Any]) -> None:
        seen.append(message["value"])
        if len(seen) < 3:
            os.write(writer, b'{"type":"STATE","value":%d}\n' % len(seen))
        else:
            os.close(writer)

    os.write(writer, STATE_LINE)
    with open(reader, "rb") as tap:  # noqa: PTH123 - a file descriptor
        MessageReader().process_lines(tap, {"STATE": handle})
    assert seen == [1, 1, 2]


RECORD_LINE = '{"type":"RECORD","stream":"%s","record":{"n":"%s"}}\n'


def make_record(stream: str, value: object) -> bytes:
    """Return a RECORD line."""
    return (RECORD_LINE % (stream, value)).encode()


def read_blocks(
    lines: list[bytes], streams: dict[str, str], schemas: dict[str, bytes] | None = None
) -> tuple[list[Any], dict[str, int]]:
    """Read lines to the end, and return what the callbacks take, and the counts.

    Args:
        lines: The lines, which are read at the same time.
        streams: The streams that have a SCHEMA, with the collection of each.
        schemas: The SCHEMA lines that would change nothing.
    """
    reader = MessageReader()
    reader.streams = {stream: frozenset({name}) for stream, name in streams.items()}
    reader.current_schemas = schemas or {}
    taken: list[Any] = []
    callbacks = dict.fromkeys(MESSAGE_TYPES, taken.append)
    counts = reader.process_lines(io.BytesIO(b"".join(lines)), callbacks)
    return taken, dict(counts)


def describe_block(block: RecordBlock) -> dict[str, list[bytes]]:
    """Return the lines of a block by stream."""
    return {stream: group.lines for stream, group in block.groups.items()}


def test_lines_of_a_stream_are_grouped() -> None:
    """Between two messages that end a block; a stream without a SCHEMA does, too."""
    first, second, third = (make_record("a", number) for number in (1, 2, 3))
    other, unknown = make_record("b", 3), make_record("c", 4)
    schema = b'{"type":"RECORD","stream":"a","type":"SCHEMA"}\n'  # the last duplicate counts
    lines = [first, other, second, unknown, third, schema, first, other]
    (one, message, two, schema_message, three), counts = read_blocks(lines, {"a": "a", "b": "b"})
    assert describe_block(one) == {"a": [first, second], "b": [other]}
    assert message["stream"] == "c"
    assert describe_block(two) == {"a": [third]}
    assert schema_message["type"] == "SCHEMA"
    assert describe_block(three) == {"a": [first], "b": [other]}
    assert counts == {"RECORD": 7, "SCHEMA": 1}


def test_other_messages_are_held_in_their_place() -> None:
    """A STATE, an ACTIVATE_VERSION and a SCHEMA that is repeated do not end a block."""
    schema = b'{"type":"SCHEMA","stream":"a"}\n'
    records = [make_record(stream, number) for number, stream in enumerate("aabaab")]
    version = b'{"type":"ACTIVATE_VERSION","stream":"a","version":1}\n'
    lines = [*records[:3], STATE_LINE, schema, *records[3:5], version, STATE_LINE, records[5]]
    (block,), counts = read_blocks(lines, {"a": "a", "b": "b"}, {"a": schema})
    a, b = block.groups["a"], block.groups["b"]
    assert [(held.number, held.header.type, held.ends) for held in block.held] == [
        (4, "STATE", [(a, 2), (b, 1)]),
        (5, "SCHEMA", []),
        (8, "ACTIVATE_VERSION", [(a, 4)]),
        (9, "STATE", []),
    ]
    assert counts == {"RECORD": 6, "STATE": 2, "SCHEMA": 1, "ACTIVATE_VERSION": 1}
    assert [a.find_line_number(row) for row in range(4)] == [1, 2, 6, 7]
    assert [b.count_before(number) for number in (3, 4, 10, 11)] == [0, 1, 1, 2]
    assert block.count_before(8) == 5


def test_changed_schema_ends_a_block() -> None:
    """A SCHEMA that is not the last one of its stream, byte for byte."""
    record, schema = make_record("a", 1), b'{"type":"SCHEMA","stream":"a"}\n'
    lines = [record, schema.replace(b":", b": "), record]
    taken, _ = read_blocks(lines, {"a": "a"}, {"a": schema})
    assert [type(item) for item in taken] == [RecordBlock, dict, RecordBlock]


def test_streams_of_one_collection_are_not_in_one_block() -> None:
    """So a line of the other stream is loaded after all lines before it."""
    lines = [make_record(stream, number) for number, stream in enumerate("aabab")]
    blocks, _ = read_blocks(lines, {"a": "shared", "b": "shared"})
    assert [describe_block(block) for block in blocks] == [
        {"a": lines[:2]},
        {"b": lines[2:3]},
        {"a": lines[3:4]},
        {"b": lines[4:]},
    ]


@pytest.mark.parametrize(
    "form",
    [
        '{"type":"RECORD","stream":"%s","record":{"id":%d}}',
        '{"record":{"id":%d},"stream":"%s","type":"RECORD"}',
        '{"type":"RECORD","stream":"%s","time_extracted":"%d","record":{}}',
        '{"type":"RECORD","record":{"stream":"x","record":{"id":%d}},"stream":"%s"}',
        '{"type": "RECORD", "stream": "%s", "version": %d, "record": {}}',
    ],
)
def test_stream_is_found_in_any_order_of_members(form: str) -> None:
    """Alternating streams are distinguished, even if no two lines begin the same."""
    streams = ["record", "type", "a", "a", "record"]
    swapped = form.index("%d") < form.index("%s")
    lines = [
        (form % ((number, stream) if swapped else (stream, number))).encode() + b"\n"
        for number, stream in enumerate(streams)
    ]
    (block,), _ = read_blocks(lines * 2, {name: name for name in streams})
    assert describe_block(block) == {
        "record": [lines[0], lines[4]] * 2,
        "type": [lines[1]] * 2,
        "a": [lines[2], lines[3]] * 2,
    }


def test_versions_and_rejections_are_noted() -> None:
    """A version is noted wherever it stands; a replayed record is known by its member."""
    versions = [b'{"type":"RECORD","stream":"a","version":%d,"record":{}}\n' % n for n in (1, 1, 2)]
    late = b'{"type":"RECORD","stream":"a","record":{},"version":3}\n'
    replayed = b'{"type":"RECORD","stream":"a","record":{},"rejected":{"at":"x"}}\n'
    odd = b'{"type":"RECORD","stream":"a","record":{},"version":[4]}\n'
    lines = [odd, *versions, late, replayed, make_record("a", 1)]
    (block,), _ = read_blocks(lines, {"a": "a"})
    assert block.notable.pop(0).version == [4]
    assert {header.version for header in block.notable if header.has_version} == {1, 2, 3}
    assert [header.rejected for header in block.notable if header.rejected] == [{"at": "x"}]


def test_lines_are_passed_on_before_the_reader_waits(tmp_path: Path) -> None:
    """A tap that pauses does not hold back the lines that it has written."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = MessageReader()
    reader.streams = {"a": frozenset({"a"})}
    loaded: list[dict[str, list[bytes]]] = []
    callbacks = {"RECORD": lambda block: loaded.append(describe_block(block))}
    line = make_record("a", 1)
    with ThreadPoolExecutor(1) as pool, pipe.open("r+b", buffering=0) as tap:
        tap.write(line + line[:20])
        with pipe.open("rb") as lines:
            running = pool.submit(reader.process_lines, lines, callbacks)
            wait_for(lambda: loaded == [{"a": [line]}])
            assert not running.done()
            tap.write(line[20:])
            wait_for(lambda: loaded == [{"a": [line]}] * 2)
            tap.close()
            running.result(timeout=10)


def test_current_line_is_known_in_a_callback() -> None:
    """A callback sees the current line and its number, and the reader does not wait."""
    reader = MessageReader()
    seen = []

    def handle(_: dict[str, Any]) -> None:
        seen.append((reader.line_number, reader.line, reader.is_waiting))

    other = b'{"type":"STATE","value":2}'
    reader.process_lines(io.BytesIO(STATE_LINE + other), {"STATE": handle})
    assert seen == [(1, STATE_LINE, False), (2, other, False)]
    assert not reader.is_waiting


def test_callback_exceptions_pass_through() -> None:
    """The reader does not report a callback's exception as a failure of the input."""

    def handle(_: dict[str, Any]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"disk full") as raised:
        MessageReader().process_lines(io.BytesIO(STATE_LINE), {"STATE": handle})
    assert type(raised.value) is OSError


# Values


@pytest.mark.parametrize(
    "digits",
    ["0.1", "12.340", "1e5", "-0.0", "1E400", "1e-400", "123456789012345678.123456789012345678"],
)
def test_fractions_are_exact(digits: str) -> None:
    """A number with a fraction or an exponent becomes a Decimal with the same digits."""
    value = decode_value(digits)
    assert type(value) is Decimal
    assert str(value) == str(Decimal(digits))


@pytest.mark.parametrize("digits", [1, 19, 20, 100, 4000, 4299, 4300, 4301, 10_000])
@pytest.mark.parametrize("sign", ["", "-"], ids=["positive", "negative"])
def test_integers_are_exact(sign: str, digits: int) -> None:
    """An integer is exact at any size; above Python's limit of digits it is a Decimal."""
    text = sign + "7" * digits
    value = decode_value(text)
    assert isinstance(value, Decimal if digits > 4300 else int)
    assert Decimal(value) == Decimal(text) if digits > 4300 else str(value) == text


@pytest.mark.parametrize(
    "exponent",
    ["9999999999999999999999", "-9999999999999999999999"],
    ids=["huge", "tiny"],
)
@pytest.mark.parametrize("mantissa", ["1", "-2.5", "0"])
def test_exponents_beyond_the_range_of_decimal(mantissa: str, exponent: str) -> None:
    """A number with an exponent that Decimal rejects is still huge, or still almost zero."""
    for e in ("e", "E", "e+" if exponent[0] != "-" else "e"):
        value = decode_value(f"{mantissa}{e}{exponent}")
        assert type(value) is Decimal
        assert value.is_signed() == mantissa.startswith("-")
        if mantissa == "0":
            assert value == 0
        else:
            assert (abs(value.adjusted()) > 100_000) is True
            assert (value.adjusted() < 0) == exponent.startswith("-")


def test_nan_and_infinities() -> None:
    """NaN and infinities, which Python taps write, are read although JSON lacks them."""
    values = decode_value("[NaN, Infinity, -Infinity, 1.50, 3]")
    assert all(type(value) is NonFinite for value in values[:3])
    assert math.isnan(values[0])
    assert values[1:3] == [math.inf, -math.inf]
    assert values[3:] == [Decimal("1.50"), 3]
    assert str(values[3]) == "1.50"


def test_lone_surrogates() -> None:
    """A lone surrogate, which JSON can escape and UTF-8 cannot encode, is kept."""
    assert decode_value(r'"a\ud800b"') == "a\ud800b"
    assert decode_value(r'"\ud83d\ude00"') == "\U0001f600"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def _add_types(value: object) -> object:
    """Make types comparable: in Python, `1 == Decimal("1.0") == True`."""
    if isinstance(value, dict):
        return {key: _add_types(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_add_types(inner) for inner in value]
    return type(value).__name__, repr(value)


@given(value=JSON, spaced=st.booleans())
@example(value=[1e300, -0.0, 2**64, -(2**63) - 1], spaced=True)
def test_both_decoders_agree(value: Any, spaced: bool) -> None:  # noqa: ANN401, FBT001
    """Both decoders return the same values and types for any JSON."""
    line = ENCODER.encode({"value": value}) + b"\n"
    if spaced:
        line = msgspec.json.format(line.strip(), indent=0) + b" \r\n"
    reader = MessageReader()
    assert _add_types(reader.deserialize_json(line)) == _add_types(
        json_lines._decode_leniently(line)  # noqa: SLF001 - the fallback decoder
    )


@given(st.binary(max_size=30) | st.text('[]{}":,\\u0123eE+-.dDNaIfnity \t', max_size=30))
def test_any_line_is_decoded_or_refused(content: bytes | str) -> None:
    """Any line is a message or an InvalidMessageError, and both decoders agree."""
    line = (content if isinstance(content, bytes) else content.encode()) + b"\n"
    reader = MessageReader()
    try:
        message = reader.deserialize_json(line)
    except InvalidMessageError:
        return
    lenient = json_lines._decode_leniently(line)  # noqa: SLF001 - the fallback decoder
    assert _add_types(message) == _add_types(lenient)


# Invalid lines

INVALID_LINES: dict[str, tuple[bytes, str]] = {
    "unquoted string": (b'{"type":"RECORD","name":Ada Lovelace}\n', "invalid JSON at character 25"),
    "output of the tap": (b"Ada Lovelace logged in\n", "invalid JSON at character 1"),
    "invalid UTF-8": (b'{"type":"RECORD","name":"Ada Lovelace\xff"}\n', "invalid UTF-8 at byte 38"),
    "list": (b'["Ada Lovelace"]\n', "JSON, but not an object"),
    "string": (b'"Ada Lovelace"\n', "JSON, but not an object"),
    "null": (b"null\n", "JSON, but not an object"),
    "NaN": (b"NaN\n", "JSON, but not an object"),
    "missing type": (b'{"stream":"Ada Lovelace"}\n', "it has no type"),
    "unknown type": (b'{"type":"Ada Lovelace"}\n', "its type is not a Singer message type"),
    "type is a list": (b'{"type":["Ada Lovelace"]}\n', "its type is not a Singer message type"),
    "type is null": (b'{"type":null}\n', "its type is not a Singer message type"),
    "two messages": (b'{"type":"STATE"}{"type":"STATE"}\n', "invalid JSON at character 17"),
    "truncated": (b'{"type":"RECORD","name":"Ada Lov', "ends in the middle of it"),
    "truncated in a character": ('{"a":"ü'.encode()[:-1], "ends in the middle of it"),
    "truncated in an escape": (b'{"a":"\\u00', "ends in the middle of it"),
    "too deep": (b"[" * 200_000 + b"\n", "nested too deeply"),
    "control character": (b'{"name":"Ada\x01Lovelace"}\n', "invalid JSON at character 13"),
}


@pytest.mark.parametrize("case", INVALID_LINES)
@pytest.mark.parametrize("lines_before", [0, 2])
def test_invalid_line_is_refused(
    case: str, lines_before: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An invalid line ends the run with its number and the reason, never with its content."""
    caplog.set_level(logging.DEBUG)
    line, reason = INVALID_LINES[case]
    with pytest.raises(InvalidMessageError) as raised:
        read_messages(io.BytesIO(STATE_LINE * lines_before + line))
    message = str(raised.value)
    assert f"Line {lines_before + 1} of the input is not a Singer message: " in message
    assert reason in message
    assert "Everything before it is delivered" in message
    assert raised.value.__suppress_context__, "the cause may contain the line"
    for private in ("Ada", "Lov"):
        assert private not in message + repr(raised.value) + caplog.text


def test_messages_before_an_invalid_line_are_handled() -> None:
    """The callbacks get every message before an invalid line."""
    seen: list[dict[str, Any]] = []
    with pytest.raises(InvalidMessageError):
        MessageReader().process_lines(
            io.BytesIO(STATE_LINE + STATE_LINE + b"oops\n"), {"STATE": seen.append}
        )
    assert len(seen) == 2


def test_missing_members_are_named() -> None:
    """A message without a required member is refused like any other invalid line."""
    reader = MessageReader()
    reader.assert_line_requires({"stream": 1, "record": 2}, {"stream", "record"})
    reader.line_number = 7
    with pytest.raises(InvalidMessageError, match=r"Line 7 .*: it has no record and no stream\."):
        reader.assert_line_requires({"name": "Ada Lovelace"}, {"stream", "record"})


# How reading ends


class FailingInput(io.RawIOBase):
    """Input that returns two lines, one by one, and then raises."""

    def __init__(self, reader: MessageReader, error: BaseException) -> None:
        """Prepare to raise `error`."""
        super().__init__()
        self.reader = reader
        self.error = error
        self.was_waiting: list[bool] = []

    def readable(self) -> bool:
        """Return True: this input can be read."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer of any kind
        """Return a line, or raise."""
        self.was_waiting.append(self.reader.is_waiting)
        if len(self.was_waiting) > 2:
            raise self.error
        buffer[: len(STATE_LINE)] = STATE_LINE
        return len(STATE_LINE)


def test_pipe_holds_what_is_read_at_a_time() -> None:
    """While the tap is ahead, so many lines are loaded together."""
    fcntl = pytest.importorskip("fcntl")
    if not hasattr(fcntl, "F_GETPIPE_SZ"):
        pytest.skip("only Linux has the size of a pipe")
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as lines, open(write_end, "wb"):  # noqa: PTH123 - descriptors
        raw_input.open_input(lines, contextlib.nullcontext)
        assert fcntl.fcntl(lines.fileno(), fcntl.F_GETPIPE_SZ) >= 256 * 1024


def test_stop_requested() -> None:
    """`stop_requested` ends reading before the next line, after the current one is handled."""
    reader = MessageReader()
    seen = []

    def handle(_: dict[str, Any]) -> None:
        seen.append(reader.line_number)
        reader.stop_requested = reader.line_number == 2

    with pytest.raises(ReadingStopped):
        reader.process_lines(io.BytesIO(STATE_LINE * 5), {"STATE": handle})
    assert seen == [1, 2]
    assert not reader.is_waiting, "a signal handler must not raise any more"
    assert not reader.has_reached_end


def test_end_is_reached_without_a_stop() -> None:
    """The end of the input is one only if it was not stopped: a signal may end the tap, too."""
    reader = MessageReader()
    reader.process_lines(io.BytesIO(STATE_LINE), {"STATE": lambda _: None})
    assert reader.has_reached_end
    stopped = MessageReader()

    def stop(_: dict[str, Any]) -> None:
        stopped.stop_requested = True

    with pytest.raises(ReadingStopped):
        stopped.process_lines(io.BytesIO(STATE_LINE), {"STATE": stop})
    assert not stopped.has_reached_end


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        EOFError("Compressed file ended"),
        UnicodeDecodeError("utf-8", b"Ada\xff", 3, 4, "invalid start byte"),
    ],
    ids=["operating system", "end of file", "encoding"],
)
def test_unreadable_input(error: Exception) -> None:
    """When the input fails, the error names the last line that was read, and the reason."""
    reader = MessageReader()
    lines: Any = FailingInput(reader, error)
    with pytest.raises(InputError, match=r"cannot be read beyond line 2: .*Everything") as raised:
        read_messages(lines, reader)
    assert lines.was_waiting == [True] * 3
    assert not reader.is_waiting
    assert "Ada" not in str(raised.value)


@pytest.mark.parametrize(
    "error", [ReadingStopped(), KeyboardInterrupt()], ids=["ReadingStopped", "KeyboardInterrupt"]
)
def test_signal_handler_exceptions_pass_through(error: BaseException) -> None:
    """What a signal handler raises during a read passes through, and the reader stops waiting."""
    reader = MessageReader()
    lines: Any = FailingInput(reader, error)
    with pytest.raises(type(error)):
        read_messages(lines, reader)
    assert not reader.is_waiting
    assert reader.line_number == 2


GZIPPED = gzip.compress(b"".join(b'{"type":"STATE","value":%d}\n' % n for n in range(50_000)))
HALF = len(GZIPPED) // 2
DAMAGED_GZIP = {
    "truncated": (GZIPPED[:HALF], "ends too early"),
    "no trailer": (GZIPPED[:-8], "ends too early"),
    "damaged lines": (GZIPPED[:HALF] + b"\xff" * 50 + GZIPPED[HALF + 50 :], "invalid JSON"),
    "damaged": (GZIPPED[:10] + b"\xff" * 50 + GZIPPED[60:], "is damaged"),
    "trailing garbage": (GZIPPED + b"no gzip", "Not a gzipped file"),
}


@pytest.mark.parametrize("damage", DAMAGED_GZIP)
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    """A truncated or damaged gzip file is an InputError that names the line and the reason."""
    path = tmp_path / "in.gz"
    content, reason = DAMAGED_GZIP[damage]
    path.write_bytes(content)
    with open_gzip(path) as file, pytest.raises(InputError, match=reason):
        read_messages(file)


def test_string_input_with_invalid_utf8_is_refused(tmp_path: Path) -> None:
    """A file opened as text whose bytes are not UTF-8 raises an InputError."""
    path = tmp_path / "in.singer"
    path.write_bytes(STATE_LINE + b'{"type":"STATE","value":"\xff"}\n')
    with path.open(encoding="utf-8") as file, pytest.raises(InputError, match=r"can't decode"):
        read_messages(file)


CLOSED_INPUT = """
import sys
sys.stdin = None
try:
    MessageReader().process_lines(None, {})
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(MessageReader().process_lines(None, {'STATE': lambda m: None})['STATE'])", "2"),
        (
            CLOSED_INPUT,
            "InputError Standard input is closed. Pipe a tap into it, or use --input.",
        ),
    ],
    ids=["open", "closed"],
)
def test_standard_input(code: str, expected: str) -> None:
    """Without a file, standard input is read; a closed one is an InputError."""
    completed = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from target_segment_objects.singer.reader import MessageReader\n{code}",
        ],
        input=STATE_LINE * 2,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert completed.stdout.decode().strip() == expected, completed.stderr


def test_last_duplicate_member_counts() -> None:
    """Of two members with the same name the last counts, in both decoders."""
    assert decode_value('{"a":1,"a":2}') == json.loads('{"a":1,"a":2}') == {"a": 2}
    assert decode_value('{"a":NaN,"a":2}') == {"a": 2}
