"""Lines → messages: both decoders, every kind of broken line, and how reading ends."""

from __future__ import annotations

import gzip
import io
import json
import logging
import math
import os
import subprocess
import sys
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from singer_sdk.singerlib.encoding.base import SingerMessageType

from target_segment_objects.exceptions import InputError, InvalidMessageError
from target_segment_objects.mapping.values import ENCODER, NonFinite
from target_segment_objects.singer.reader import MessageReader, ReadingStopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = [kind.value for kind in SingerMessageType]
GOOD = b'{"type":"STATE","value":1}\n'


def read(
    source: IO[bytes] | IO[str], reader: MessageReader | None = None
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Read to the end; return the messages and their counts."""
    messages: list[dict[str, Any]] = []
    callbacks: dict[str, Callable[[dict[str, Any]], None]] = dict.fromkeys(KINDS, messages.append)
    counts = (reader or MessageReader()).process_lines(source, callbacks)
    return messages, dict(counts)


def _unzipped(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path))


def value_of(text: str | bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """Read a value through the reader."""
    raw = text.encode() if isinstance(text, str) else text
    return MessageReader().deserialize_json(b'{"value":' + raw + b"}\n")["value"]


# Input


def test_bytes() -> None:
    """Each line of bytes is a message, given to its type's callback in order, and counted."""
    lines = b"".join(b'{"type":"%b","n":%d}\n' % (k.encode(), n) for n, k in enumerate(KINDS * 2))
    messages, counts = read(io.BytesIO(lines))
    assert [message["n"] for message in messages] == list(range(10))
    assert counts == dict.fromkeys(KINDS, 2)


def test_text() -> None:
    """Lines of text are read as those of bytes; what is said of a line is its bytes."""
    reader = MessageReader()
    messages, _ = read(io.StringIO('{"type":"STATE","value":"ü"}\n'), reader)
    assert messages == [{"type": "STATE", "value": "ü"}]
    assert reader.line == '{"type":"STATE","value":"ü"}\n'.encode()


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" \t\r\n"])
def test_line_ends(end: bytes) -> None:
    """Windows' line ends are read, and a last line without any."""
    messages, _ = read(io.BytesIO(GOOD.strip() + end))
    assert messages == [{"type": "STATE", "value": 1}]


def test_no_input() -> None:
    """A tap that says nothing is no error."""
    assert read(io.BytesIO()) == ([], {})


def test_a_file(tmp_path: Path) -> None:
    """Files are read as they are opened, gzipped too, and lines may be long."""
    path = tmp_path / "in.gz"
    long = b'{"type":"STATE","value":"%b"}\n' % (b"x" * 3_000_000)
    path.write_bytes(gzip.compress(GOOD + long))
    with _unzipped(path) as file:
        messages, counts = read(file)
    assert counts == {"STATE": 2}
    assert len(messages[1]["value"]) == 3_000_000


def test_a_line_is_handled_when_it_comes() -> None:
    """Though its tap goes on and the buffer is far from full."""
    out, into = os.pipe()
    seen = []

    def handle(message: dict[str, Any]) -> None:
        seen.append(message["value"])
        if len(seen) < 3:
            os.write(into, b'{"type":"STATE","value":%d}\n' % len(seen))
        else:
            os.close(into)

    os.write(into, GOOD)
    with open(out, "rb") as tap:  # noqa: PTH123 - of a descriptor
        MessageReader().process_lines(tap, {"STATE": handle})
    assert seen == [1, 1, 2]


def test_shortcuts() -> None:
    """A shortcut takes the lines with its head, unless it leaves one; a SCHEMA may end that."""
    reader = MessageReader()
    taken: list[bytes] = []
    messages = []

    def shortcut(line: bytes) -> bool:
        assert not reader.is_waiting
        if b"odd" not in line:
            taken.append(line)
        return b"odd" not in line

    def handle(message: dict[str, Any]) -> None:
        messages.append((reader.line_number, reader.line, message["type"]))
        if message["type"] == "SCHEMA":
            del reader.fast_handlers[b'{"type":"RECORD","stream":"a",']

    def record(stream: str, value: str) -> bytes:
        return f'{{"type":"RECORD","stream":"{stream}","record":{{"n":"{value}"}}}}\n'.encode()

    for stream in ("a", "b"):
        line = record(stream, "")
        reader.fast_handlers[line[: line.find(b'"record"')]] = shortcut
    one, two, odd = record("a", "1"), record("a", "2"), record("a", "odd")
    other, third = record("b", "3"), record("c", "4")
    schema = b'{"type":"RECORD","stream":"a","type":"SCHEMA"}\n'  # of two members the last counts
    lines = [one, two, odd, one, other, GOOD, two, third, schema, one, other]
    counts = reader.process_lines(io.BytesIO(b"".join(lines)), dict.fromkeys(KINDS, handle))
    assert taken == [one, two, one, other, two, other]
    assert messages == [
        (3, odd, "RECORD"),
        (6, GOOD, "STATE"),
        (8, third, "RECORD"),
        (9, schema, "SCHEMA"),
        (10, one, "RECORD"),
    ]
    assert counts == {"RECORD": 9, "STATE": 1, "SCHEMA": 1}


def test_the_line_at_hand() -> None:
    """While a message is handled, the reader knows its line, its number, and that none waits."""
    reader = MessageReader()
    seen = []

    def handle(_: dict[str, Any]) -> None:
        seen.append((reader.line_number, reader.line, reader.is_waiting))

    other = b'{"type":"STATE","value":2}'
    reader.process_lines(io.BytesIO(GOOD + other), {"STATE": handle})
    assert seen == [(1, GOOD, False), (2, other, False)]
    assert not reader.is_waiting


def test_what_a_callback_raises_passes_through() -> None:
    """The reader takes nobody's error for one of the input's."""

    def handle(_: dict[str, Any]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"disk full") as raised:
        MessageReader().process_lines(io.BytesIO(GOOD), {"STATE": handle})
    assert type(raised.value) is OSError


# Values


@pytest.mark.parametrize(
    "text",
    ["0.1", "12.340", "1e5", "-0.0", "1E400", "1e-400", "123456789012345678.123456789012345678"],
)
def test_fractions_are_exact(text: str) -> None:
    """A number with a fraction or an exponent is a Decimal with the digits that were written."""
    value = value_of(text)
    assert type(value) is Decimal
    assert str(value) == str(Decimal(text))


@pytest.mark.parametrize("digits", [1, 19, 20, 100, 4000, 4299, 4300, 4301, 10_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_are_exact(sign: str, digits: int) -> None:
    """An integer is exact at any size; of more digits than Python takes, it is a Decimal."""
    text = sign + "7" * digits
    value = value_of(text)
    assert isinstance(value, Decimal if digits > 4300 else int)
    assert Decimal(value) == Decimal(text) if digits > 4300 else str(value) == text


@pytest.mark.parametrize("exponent", ["9999999999999999999999", "-9999999999999999999999"])
@pytest.mark.parametrize("mantissa", ["1", "-2.5", "0"])
def test_exponents_beyond_all_decimals(mantissa: str, exponent: str) -> None:
    """A number with an absurd exponent is a number, beyond every float or next to nothing."""
    for e in ("e", "E", "e+" if exponent[0] != "-" else "e"):
        value = value_of(f"{mantissa}{e}{exponent}")
        assert type(value) is Decimal
        assert value.is_signed() == mantissa.startswith("-")
        if mantissa == "0":
            assert value == 0
        else:
            assert (abs(value.adjusted()) > 100_000) is True
            assert (value.adjusted() < 0) == exponent.startswith("-")


def test_what_json_has_not() -> None:
    """NaN and infinities, which Python's taps do write, come as what they are."""
    values = value_of("[NaN, Infinity, -Infinity, 1.50, 3]")
    assert all(type(value) is NonFinite for value in values[:3])
    assert math.isnan(values[0])
    assert values[1:3] == [math.inf, -math.inf]
    assert values[3:] == [Decimal("1.50"), 3]
    assert str(values[3]) == "1.50"


def test_halves_of_surrogates() -> None:
    """Half a surrogate pair, which JSON can say and UTF-8 cannot, comes as it is."""
    assert value_of(r'"a\ud800b"') == "a\ud800b"
    assert value_of(r'"\ud83d\ude00"') == "\U0001f600"


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


def _typed(value: object) -> object:
    """Make types count: `1 == Decimal("1.0") == True` to Python."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return type(value).__name__, repr(value)


@given(value=JSON, spaced=st.booleans())
@example(value=[1e300, -0.0, 2**64, -(2**63) - 1], spaced=True)
def test_both_decoders_agree(value: Any, spaced: bool) -> None:  # noqa: ANN401, FBT001
    """Whatever JSON says, msgspec's way and the standard library's read the same, type by type."""
    line = ENCODER.encode({"value": value}) + b"\n"
    if spaced:
        line = msgspec.json.format(line.strip(), indent=0) + b" \r\n"
    reader = MessageReader()
    assert _typed(reader.deserialize_json(line)) == _typed(
        reader._deserialize_leniently(line)  # noqa: SLF001 - the other way
    )


@given(st.binary(max_size=30) | st.text('[]{}":,\\u0123eE+-.dDNaIfnity \t', max_size=30))
def test_any_line_is_read_or_refused(text: bytes | str) -> None:
    """Whatever a line is, it is a message or an InvalidMessageError, and both decoders the same."""
    line = (text if isinstance(text, bytes) else text.encode()) + b"\n"
    reader = MessageReader()
    try:
        message = reader.deserialize_json(line)
    except InvalidMessageError:
        return
    lenient = reader._deserialize_leniently(line)  # noqa: SLF001 - the other way
    assert _typed(message) == _typed(lenient)


# Broken lines

BROKEN: dict[str, tuple[bytes, str]] = {
    "no JSON": (b'{"type":"RECORD","name":Ada Lovelace}\n', "not JSON at character 25"),
    "what the tap printed": (b"Ada Lovelace logged in\n", "not JSON at character 1"),
    "no UTF-8": (b'{"type":"RECORD","name":"Ada Lovelace\xff"}\n', "not UTF-8 at byte 38"),
    "UTF-16": ('{"type":"STATE"}\n'.encode("utf-16"), "not UTF-8 at byte 1"),
    "a byte order mark": (b'\xef\xbb\xbf{"type":"STATE"}\n', "not JSON at character 1"),
    "a list": (b'["Ada Lovelace"]\n', "JSON, but no object"),
    "a text": (b'"Ada Lovelace"\n', "JSON, but no object"),
    "a null": (b"null\n", "JSON, but no object"),
    "no number": (b"NaN\n", "JSON, but no object"),
    "no type": (b'{"stream":"Ada Lovelace"}\n', "it has no type"),
    "an unknown type": (b'{"type":"Ada Lovelace"}\n', "its type is none that Singer has"),
    "a type that is no text": (b'{"type":["Ada Lovelace"]}\n', "its type is none"),
    "a type that is null": (b'{"type":null}\n', "its type is none that Singer has"),
    "two messages": (b'{"type":"STATE"}{"type":"STATE"}\n', "not JSON at character 17"),
    "cut at the end": (b'{"type":"RECORD","name":"Ada Lov', "ends in the middle of it"),
    "cut in a character": ('{"a":"ü'.encode()[:-1], "ends in the middle of it"),
    "cut in an escape": (b'{"a":"\\u00', "ends in the middle of it"),
    "blank": (b"\n", "it is blank"),
    "blanks": (b" \t\r\n", "it is blank"),
    "too deep": (b"[" * 200_000 + b"\n", "nested too deeply"),
    "a control character": (b'{"name":"Ada\x01Lovelace"}\n', "not JSON at character 13"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("good", [0, 2])
def test_a_broken_line_is_refused(kind: str, good: int, caplog: pytest.LogCaptureFixture) -> None:
    """A line that is no message ends the run with its number and the reason, never its content."""
    caplog.set_level(logging.DEBUG)
    line, reason = BROKEN[kind]
    with pytest.raises(InvalidMessageError) as raised:
        read(io.BytesIO(GOOD * good + line))
    said = str(raised.value)
    assert f"Line {good + 1} of the input is no Singer message: " in said
    assert reason in said
    assert "What came before it is delivered" in said
    assert raised.value.__suppress_context__, "what is below may hold the line"
    for private in ("Ada", "Lov"):
        assert private not in said + repr(raised.value) + caplog.text


def test_what_came_before_was_handled() -> None:
    """The messages before a broken line have been given to their callbacks."""
    seen: list[dict[str, Any]] = []
    with pytest.raises(InvalidMessageError):
        MessageReader().process_lines(io.BytesIO(GOOD + GOOD + b"oops\n"), {"STATE": seen.append})
    assert len(seen) == 2


def test_what_a_message_lacks() -> None:
    """A message without what its type needs is refused like any other broken line."""
    reader = MessageReader()
    reader.assert_line_requires({"stream": 1, "record": 2}, {"stream", "record"})
    reader.line_number = 7
    with pytest.raises(InvalidMessageError, match=r"Line 7 .*: it has no record and no stream\."):
        reader.assert_line_requires({"name": "Ada Lovelace"}, {"stream", "record"})


# How reading ends


class Interrupting(io.RawIOBase):
    """Lines that come one by one, and fail before the third."""

    def __init__(self, reader: MessageReader, error: BaseException) -> None:
        """Be ready to be read."""
        super().__init__()
        self.reader = reader
        self.error = error
        self.was_waiting: list[bool] = []

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer of any kind
        """Give a line, or fail."""
        self.was_waiting.append(self.reader.is_waiting)
        if len(self.was_waiting) > 2:
            raise self.error
        buffer[: len(GOOD)] = GOOD
        return len(GOOD)


def test_stop_requested() -> None:
    """`stop_requested` ends reading before the next line; the one at hand is handled whole."""
    reader = MessageReader()
    seen = []

    def handle(_: dict[str, Any]) -> None:
        seen.append(reader.line_number)
        reader.stop_requested = reader.line_number == 2

    with pytest.raises(ReadingStopped):
        reader.process_lines(io.BytesIO(GOOD * 5), {"STATE": handle})
    assert seen == [1, 2]
    assert not reader.is_waiting, "nothing waits any more: a signal handler must not raise"


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        EOFError("Compressed file ended"),
        UnicodeDecodeError("utf-8", b"Ada\xff", 3, 4, "invalid start byte"),
    ],
)
def test_input_that_fails(error: Exception) -> None:
    """Input that cannot be read on is an error that says after which line, and why."""
    reader = MessageReader()
    lines: Any = Interrupting(reader, error)
    with pytest.raises(InputError, match=r"cannot be read beyond line 2: .*What came") as raised:
        read(lines, reader)
    assert lines.was_waiting == [True] * 3
    assert not reader.is_waiting
    assert "Ada" not in str(raised.value)


@pytest.mark.parametrize("error", [ReadingStopped(), KeyboardInterrupt()])
def test_what_a_signal_handler_raises(error: BaseException) -> None:
    """What a handler raises while the tap is waited for passes through, and nothing waits on."""
    reader = MessageReader()
    lines: Any = Interrupting(reader, error)
    with pytest.raises(type(error)):
        read(lines, reader)
    assert not reader.is_waiting
    assert reader.line_number == 2


GZIPPED = gzip.compress(b"".join(b'{"type":"STATE","value":%d}\n' % n for n in range(50_000)))
HALF = len(GZIPPED) // 2
DAMAGED = {
    "truncated": GZIPPED[:HALF],
    "no trailer": GZIPPED[:-8],
    "damaged": GZIPPED[:HALF] + b"\xff" * 50 + GZIPPED[HALF + 50 :],
    "garbage after": GZIPPED + b"no gzip",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_gzip_that_is_broken(tmp_path: Path, damage: str) -> None:
    """A gzip file that was cut or damaged is an error; what could be read came before it."""
    path = tmp_path / "in.gz"
    path.write_bytes(DAMAGED[damage])
    with _unzipped(path) as file, pytest.raises(InputError, match=r"[Ll]ine \d"):
        read(file)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    """A text file with bytes that are no text is an error of ours."""
    path = tmp_path / "in.singer"
    path.write_bytes(GOOD + b'{"type":"STATE","value":"\xff"}\n')
    with path.open(encoding="utf-8") as file, pytest.raises(InputError, match=r"can't decode"):
        read(file)


CLOSED = """
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
            CLOSED,
            "InputError Standard input is closed, so there is nothing to read.",
        ),
    ],
)
def test_standard_input(code: str, expected: str) -> None:
    """Without a file, standard input is read; one that is closed is told of."""
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from target_segment_objects.singer.reader import MessageReader\n{code}",
        ],
        input=GOOD * 2,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ran.stdout.decode().strip() == expected, ran.stderr


def test_json_of_the_standard_library_agrees_on_duplicates() -> None:
    """Of two members with one name, the last counts, whichever way the line is read."""
    assert value_of('{"a":1,"a":2}') == json.loads('{"a":1,"a":2}') == {"a": 2}
    assert value_of('{"a":NaN,"a":2}') == {"a": 2}
