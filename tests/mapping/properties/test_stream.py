"""A property keeps its name, its type and its shape for a whole run, with a ledger or without."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from target_segment_objects.singer import raw_input
from tests.support import record_line, schema_line
from tests.support.two_decoders import DECODERS, run_and_collect

if TYPE_CHECKING:
    from pathlib import Path

    Schema = dict[str, Any]

ID = {"_id": {"type": "string"}}
FULL = {
    **ID,
    "n": {"type": ["number", "null"]},
    "i": {"type": ["integer", "null"]},
    "b": {"type": ["boolean", "null"]},
    "t": {"type": ["string", "null"], "format": "date-time"},
    "o": {"type": ["object", "null"], "properties": {"x": {"type": ["integer", "null"]}}},
}
PARTIAL = {**ID, "extra": {"type": ["string", "null"]}}
RECORD = {"n": 2, "i": 7, "b": False, "t": "2024-01-31 10:00:00", "o": {"x": 1}}
SENT = {"n": 2.0, "i": 7, "b": False, "t": "2024-01-31T10:00:00", "o_x": 1}
FREE = {"type": ["object", "null"]}


class Loaded(NamedTuple):
    """What a run has sent.

    Attributes:
        code: The exit code.
        objects: The properties of the objects without their id, in order.
        warnings: The warnings.
        untyped: How many records were decoded untyped.
    """

    code: int
    objects: list[dict[str, Any]]
    warnings: list[str]
    untyped: int


class Load(NamedTuple):
    """Loads messages, decoded with types and untyped, of which both must do the same."""

    folder: Path
    config: dict[str, Any]

    def __call__(self, *messages: tuple[Any, ...], **config: Any) -> Loaded:  # noqa: ANN401
        """Load SCHEMAs (a stream and its properties) and records (a stream, an id and the rest)."""
        lines = []
        for number, (stream, content) in enumerate(messages):
            if "_id" in content:
                line = schema_line(stream, content, ["_id"])
            else:
                line = record_line(stream, {"_id": str(number), **content})
            lines.append(f"{line}\n".encode())
        outcomes = []
        own = {name: self.folder / value for name, value in self.config.items()}
        for decoder in DECODERS:
            for path in own.values():
                path.unlink(missing_ok=True)
            paths: dict[str, Any] = {name: str(path) for name, path in own.items()}
            outcomes.append(run_and_collect(lines, decoder, self.folder, **paths, **config))
        typed, untyped = outcomes
        assert typed == untyped
        objects = [json.loads(line) for file in typed.files for line in file.splitlines()]
        for line in objects:
            del line["properties"]["id"]
        sent = [line["properties"] for line in sorted(objects, key=lambda line: int(line["id"]))]
        return Loaded(typed.code, sent, typed.warnings, sum(typed.untyped_records.values()))


@pytest.fixture(params=[{}, {"ledger_path": "ledger.sqlite"}], ids=["no ledger", "ledger"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Load:
    """Return what loads messages without a ledger, and with one."""
    return Load(tmp_path, request.param)


@pytest.fixture
def load_once(tmp_path: Path) -> Load:
    """Return what loads messages without a ledger."""
    return Load(tmp_path, {})


def test_partial_schema_changes_neither_types_nor_shapes(load: Load) -> None:
    """A SCHEMA that declares only what is new leaves the other properties as they were."""
    result = load(("s", FULL), ("s", RECORD), ("s", PARTIAL), ("s", RECORD), ("s", RECORD))
    assert result.code == 0
    assert result.objects == [SENT, SENT, SENT]
    assert {name: type(value) for name, value in result.objects[2].items()} == {
        name: type(value) for name, value in SENT.items()
    }
    assert result.warnings == []


def test_property_without_a_declared_type_keeps_its_type(load: Load) -> None:
    """A SCHEMA that says nothing of its type changes nothing."""
    untyped = {**ID, **{name: {} for name in RECORD}}
    result = load(("s", FULL), ("s", RECORD), ("s", untyped), *[("s", RECORD)] * 3)
    assert result.objects == [SENT] * 4


def test_undeclared_property_is_decoded_with_its_type(
    load_once: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the next group of records on, while its values have its type."""
    monkeypatch.setattr(raw_input, "_BUFFER_BYTES", 100)  # about a line
    flat = {name: value for name, value in RECORD.items() if name != "o"}
    result = load_once(
        *(("s", FULL), ("s", flat), ("s", PARTIAL)),
        *[("s", flat)] * 5,
        ("s", {"t": None, "n": None}),
    )
    assert result.untyped == 1
    assert {tuple(sent.items()) for sent in result.objects[:-1]} == {
        tuple({name: SENT[name] for name in sorted(flat)}.items()),
        tuple({name: SENT[name] for name in flat}.items()),
    }
    assert result.objects[-1] == {"t": None, "n": None}


@pytest.mark.parametrize("value", [{"t": "soon"}, {"b": 1}, {"i": 1.5}, {"n": "x"}, {"t": 5}])
def test_undeclared_value_of_another_type_never_passes(load_once: Load, value: Any) -> None:  # noqa: ANN401
    """Also after many records that have the type."""
    messages = [("s", FULL), ("s", RECORD), ("s", PARTIAL), *[("s", RECORD)] * 4, ("s", value)]
    assert load_once(*messages).code == 1
    result = load_once(*messages, ("s", RECORD), type_changes="new_property")
    (name,) = value
    assert result.objects[-2] == {f"{name}_string": str(value[name])}
    assert result.objects[-1].keys() == {*SENT} - {name} | {f"{name}_string"}


def test_property_without_a_value_keeps_what_was_declared(load: Load) -> None:
    """Until a SCHEMA declares something else."""
    empty = dict.fromkeys(RECORD)
    assert load(("s", FULL), ("s", empty), ("s", PARTIAL), ("s", RECORD)).objects[1] == SENT
    result = load(("t", FULL), ("t", empty), ("t", {**ID, "n": {"type": "boolean"}, "o": FREE}))
    assert result.code == 0
    changed = {**ID, "n": {"type": ["boolean", "null"]}, "o": FREE}
    result = load(("u", FULL), ("u", empty), ("u", changed), ("u", {"n": True, "o": {"x": 1}}))
    assert result.objects[-1] == {"n": True, "o": '{"x":1}'}


@pytest.mark.parametrize(
    ("first", "second", "value", "sent"),
    [
        ("number", "integer", 7, 7.0),
        ("string", "integer", 7, "7"),
        ("string", "boolean", True, "true"),
        ("string", "array", [1], "[1]"),
    ],
)
def test_type_that_fits_is_converted(
    load: Load, first: str, second: str, value: object, sent: object
) -> None:
    """It is sent as the first type."""
    values: dict[str, object] = {"number": 1.5, "string": "x"}
    result = load(
        ("s", {**ID, "p": {"type": first}}),
        ("s", {"p": values[first]}),
        ("s", {**ID, "p": {"type": second}}),
        *[("s", {"p": value})] * 3,
    )
    assert [line["p"] for line in result.objects] == [values[first], sent, sent, sent]
    assert type(result.objects[-1]["p"]) is type(sent)


CHANGED = (
    ("s", {**ID, "p": {"type": ["integer", "null"]}}),
    ("s", {"p": 5}),
    ("s", {**ID, "p": {"type": ["number", "null"]}}),
    *[("s", {"p": 5.5})] * 2,
)


def test_type_that_does_not_fit_stops_the_run(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """What was read before is delivered; the message names the ways out."""
    result = load(*CHANGED)
    assert (result.code, result.objects) == (1, [{"p": 5}])
    for part in (
        "Stream 's': the type of the property 'p' has changed from integer to number.",
        "type_changes to new_property",
        "stream_maps",
    ):
        assert part in caplog.messages[-1]


def test_type_that_does_not_fit_is_sent_as_the_setting_says(load: Load) -> None:
    """As another property, or anyway; with a warning."""
    result = load(*CHANGED, type_changes="new_property")
    assert result.objects == [{"p": 5}, {"p_float": 5.5}, {"p_float": 5.5}]
    assert [warning for warning in result.warnings if "From now on" in warning]


def test_type_that_does_not_fit_may_be_sent_anyway(load: Load) -> None:
    """With a warning."""
    result = load(*CHANGED, type_changes="warn")
    assert result.objects == [{"p": 5}, {"p": 5.5}, {"p": 5.5}]
    assert [warning for warning in result.warnings if "may be lost" in warning]


# Shapes


@pytest.mark.parametrize("declared", [{}, {"o": FREE}, {"o": {}}], ids=["not", "free-form", "any"])
def test_flattened_object_stays_flattened(load: Load, declared: Schema) -> None:
    """Whether a later SCHEMA does not declare it, or does not declare what is in it."""
    values = [{"x": 2}, None, {"x": 3, "y": True}, {}]
    result = load(
        *(("s", FULL), ("s", {"o": {"x": 1}}), ("s", {**PARTIAL, **declared})),
        *[("s", {"o": value, "extra": "e"}) for value in values],
    )
    for line in result.objects[1:]:
        assert line.pop("extra") == "e"
    assert result.objects == [{"o_x": 1}, {"o_x": 2}, {"o_x": None}, {"o_x": 3, "o_y": "true"}, {}]


@pytest.mark.parametrize("declared", [{}, {"o": FREE}], ids=["not declared", "free-form"])
def test_json_text_stays_json_text(load: Load, declared: Schema) -> None:
    """An object that was sent as text is not flattened when its properties are declared."""
    value = {"o": {"x": 1}}
    result = load(("s", {**ID, **declared}), ("s", value), ("s", FULL), *[("s", value)] * 3)
    assert result.objects == [{"o": '{"x":1}'}] * 4
    assert len([w for w in result.warnings if "still sent as JSON text" in w]) == 1


def test_flattened_object_that_becomes_a_value(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """`type_changes` decides."""
    text = {**ID, "o": {"type": ["string", "null"]}}
    messages = (("s", FULL), ("s", {"o": {"x": 1}}), ("s", text), *[("s", {"o": "a"})] * 3)
    assert load(*messages).objects == [{"o_x": 1}]
    assert "the type of the property 'o' has changed from object to string" in caplog.text


@pytest.mark.parametrize("setting", ["warn", "new_property"])
def test_value_of_a_flattened_object_has_a_column_of_its_own(load: Load, setting: str) -> None:
    """With a warning; a later object is flattened as before."""
    number = {**ID, "o": {"type": ["integer", "null"]}}
    result = load(
        *(("s", FULL), ("s", {"o": {"x": 1}}), ("s", number), *[("s", {"o": 5})] * 3),
        *(("s", FULL), ("s", {"o": {"x": 2}}), ("s", {"o": {"x": 3}})),
        type_changes=setting,
    )
    assert [*map(str, result.objects)] == [
        *("{'o_x': 1}", "{'o': 5}", "{'o': 5}", "{'o': 5}", "{'o_x': 2}", "{'o_x': 3}"),
    ]
    assert [w for w in result.warnings if "From now on it is sent as o" in w]


def test_value_that_becomes_an_object(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """`type_changes` decides."""
    number = {**ID, "o": {"type": ["integer", "null"]}}
    messages = (("s", number), ("s", {"o": 5}), ("s", FULL), *[("s", {"o": {"x": 1}})] * 3)
    assert load(*messages).objects == [{"o": 5}]
    assert "has changed from integer to object" in caplog.text


def test_object_that_was_a_value_is_flattened(load: Load) -> None:
    """With a warning, where the setting does not stop the run."""
    number = {**ID, "o": {"type": ["integer", "null"]}}
    messages = (("s", number), ("s", {"o": 5}), ("s", FULL), *[("s", {"o": {"x": 1}})] * 3)
    result = load(*messages, type_changes="new_property")
    assert result.objects == [{"o": 5}, {"o_x": 1}, {"o_x": 1}, {"o_x": 1}]
    assert [w for w in result.warnings if "From now on it is sent as o_x" in w]


def test_undeclared_property_stays_a_string(load: Load) -> None:
    """Also when a later SCHEMA declares it."""
    declared = {**ID, "p": {"type": "integer"}}
    result = load(("s", ID), ("s", {"p": 1}), ("s", declared), *[("s", {"p": 2})] * 3)
    assert [line["p"] for line in result.objects] == ["1", "2", "2", "2"]


# Streams that share a collection


SHARED = {"collection_map": {"de": "shop", "fr": "shop"}}


def with_type(name: str) -> Schema:
    """Return properties with one of a type."""
    return {**ID, "p": {"type": [name, "null"]}}


def test_shared_property_has_one_type(load: Load) -> None:
    """That of the first value, from whichever stream."""
    result = load(
        *(("de", with_type("number")), ("fr", with_type("integer"))),
        *[("de", {"p": 1.5}), ("fr", {"p": 2})] * 3,
        **SHARED,
    )
    assert [line["p"] for line in result.objects] == [1.5, 2.0] * 3
    assert {type(line["p"]) for line in result.objects} == {float}


def test_shared_property_whose_type_does_not_fit(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """`type_changes` decides when the second stream comes with a value."""
    messages = (
        *(("de", with_type("integer")), ("fr", with_type("number"))),
        *[("de", {"p": 1})] * 3,
        *[("fr", {"p": 1.5})] * 3,
        *[("de", {"p": 2})] * 3,
    )
    assert load(*messages, **SHARED).objects == [{"p": 1}] * 3
    assert "Streams of the collection shop share its columns." in caplog.text


def test_shared_property_has_one_new_name(load: Load) -> None:
    """Both streams send it under the newest name, on both paths."""
    result = load(
        *(("de", with_type("integer")), *[("de", {"p": 1})] * 3),
        *(("fr", with_type("number")), *[("fr", {"p": 1.5})] * 3),
        *[("de", {"p": 2})] * 3,
        type_changes="new_property",
        **SHARED,
    )
    assert result.objects == [{"p": 1}] * 3 + [{"p_float": 1.5}] * 3 + [{"p_float": 2.0}] * 3


def test_shared_property_has_one_name(load: Load) -> None:
    """A property keeps the name of a collision in a stream that has no collision."""
    both = {**ID, "userId": {"type": "string"}, "user_id": {"type": "string"}}
    one = {**ID, "userId": {"type": "string"}}
    value = {"userId": "a"}
    result = load(("de", both), ("de", value), ("fr", one), *[("fr", value)] * 2, **SHARED)
    assert result.objects == [{"user_id_2": "a"}] * 3


def test_shared_column_of_two_spellings_stays_one(load: Load) -> None:
    """Names that become the same are one column in streams that do not have both."""
    result = load(
        *(("de", {**ID, "userId": {"type": "integer"}}), ("de", {"userId": 1})),
        *(("fr", {**ID, "user_id": {"type": "string"}}), ("fr", {"user_id": "x"})),
        type_changes="new_property",
        **SHARED,
    )
    assert result.objects == [{"user_id": 1}, {"user_id_string": "x"}]


def test_shared_object_has_one_shape(load: Load) -> None:
    """An object of the other stream is flattened, too."""
    value = {"o": {"x": 1}}
    messages = (("de", FULL), ("de", value), ("fr", {**ID, "o": FREE}), *[("fr", value)] * 3)
    assert load(*messages, **SHARED).objects == [{"o_x": 1}] * 4


def test_shared_object_is_seen_while_both_streams_run(load: Load) -> None:
    """The shape counts from the first value, whichever SCHEMA came first."""
    value = {"o": {"x": 1}}
    schemas = (("de", FULL), ("fr", {**ID, "o": FREE}))
    assert load(*schemas, *[("de", value), ("fr", value)] * 3, **SHARED).objects == [{"o_x": 1}] * 6
    schemas = (("a", FULL), ("b", {**ID, "o": FREE}))
    other = {"collection_map": {"a": "other", "b": "other"}}
    assert (
        load(*schemas, *[("b", value), ("a", value)] * 3, **other).objects == [{"o": '{"x":1}'}] * 6
    )


# Several names


def test_null_is_sent_under_each_name(load: Load) -> None:
    """Else an older value would come back where a query looks at all names."""
    result = load(*CHANGED, *[("s", {"p": None})] * 3, type_changes="new_property")
    assert result.objects[3:] == [{"p_float": None, "p": None}] * 3
    omitted = load(
        *[(f"t{stream}", content) for stream, content in CHANGED],
        *[("ts", {"p": None, "q": 1})] * 3,
        type_changes="new_property",
        null_properties="omit",
    )
    assert omitted.objects[3:] == [{"q": "1"}] * 3


def test_names_of_a_property_are_few(load: Load) -> None:
    """A type that returns is a string from then on."""
    values = {"integer": 1, "boolean": True, "number": 1.5}
    order = ["integer", "boolean", "integer", "number", "boolean"]
    messages = [
        message
        for name in order
        for message in (("s", with_type(name)), ("s", {"p": values[name]}))
    ]
    assert load(*messages, type_changes="new_property").objects == [
        {"p": 1},
        {"p_boolean": True},
        {"p_string": "1"},
        {"p_string": "1.5"},
        {"p_string": "true"},
    ]
