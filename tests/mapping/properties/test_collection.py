"""A property keeps its name and its first type in every later run."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_segment_objects.exceptions import UnmappableStreamError
from target_segment_objects.mapping.properties.memory import SentProperty
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.singer.reader import MessageReader
from tests.support.remembered_properties import ADVICE, RememberedProperties, compile_mapper

if TYPE_CHECKING:
    from target_segment_objects.mapping.mapper import RecordMapper
    from target_segment_objects.mapping.properties.type_changes import TypeChanges

SCHEMAS: dict[str, dict[str, Any]] = {
    "string": {"type": ["string", "null"]},
    "timestamp": {"type": ["string", "null"], "format": "date-time"},
    "integer": {"type": ["integer", "null"]},
    "number": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "union": {"type": ["integer", "boolean", "null"]},
}
VALUES = {
    "string": '"x"',
    "timestamp": '"2024-01-31 10:00:00"',
    "integer": "7",
    "number": "7.50",
    "boolean": "true",
    "union": "7",
}


def send(mapper: RecordMapper, value: str, name: str = "a") -> dict[str, str]:
    """Map a record with one property; return the digits and strings that are sent of it."""
    record = MessageReader().deserialize_json(f'{{"id": "1", "{name}": {value}}}'.encode())
    sent = json.loads(mapper.map_record(record), parse_int=str, parse_float=str)["properties"]
    return {name: value for name, value in sent.items() if name != "id"}


def run(
    memory: RememberedProperties,
    declared: str | None,
    value: str,
    type_changes: TypeChanges = "fail",
) -> dict[str, Any]:
    """Run with a declared type, or with none, and one record; return what is sent."""
    properties = {"id": {"type": "string"}}
    if declared is not None:
        properties["a"] = SCHEMAS[declared]
    return send(compile_mapper(memory.start_run(type_changes), properties), value)


@pytest.mark.parametrize(
    ("first", "second", "sent"),
    [
        pytest.param("number", "integer", "7.0", id="an integer in a float column"),
        pytest.param("string", "integer", "7", id="an integer in a text column"),
        pytest.param("string", "number", "7.50", id="a number in a text column"),
        pytest.param("string", "boolean", "true", id="a boolean in a text column"),
        pytest.param("string", "timestamp", "2024-01-31 10:00:00", id="a time in a text column"),
        pytest.param("union", "integer", "7", id="a union is text"),
    ],
)
def test_changed_type_that_fits_is_converted(first: str, second: str, sent: str) -> None:
    """It is sent as before, and logged at most as information."""
    memory = RememberedProperties()
    run(memory, first, VALUES[first])
    result = run(memory, second, VALUES[second])
    assert result == {"a": sent}
    assert [message for message in memory.messages if "still sent as the first" in message]
    assert run(memory, first, VALUES[first])


LOSSY = [
    (first, second)
    for first in SCHEMAS
    for second in SCHEMAS
    if first not in {second, "string", "union"} and (first, second) != ("number", "integer")
]


@pytest.mark.parametrize(("first", "second"), LOSSY, ids="-".join)
def test_changed_type_that_does_not_fit_stops_the_stream(first: str, second: str) -> None:
    """The message names the property, both types and the ways out."""
    memory = RememberedProperties()
    run(memory, first, VALUES[first])
    with pytest.raises(UnmappableStreamError) as error:
        run(memory, second, VALUES[second])
    new_type = "string" if second == "union" else second
    assert f"property 'a' has changed from {first} to {new_type}" in str(error.value)
    suffix = "float" if new_type == "number" else new_type
    for way_out in (f"new_property to send such values as another property (a_{suffix})", ADVICE):
        assert way_out in str(error.value)


def test_many_changed_types_are_one_message() -> None:
    """Five are named, and the others counted."""
    memory = RememberedProperties(
        *(SentProperty("s", (f"p{n}",), f"p{n}", PropertyType.BOOLEAN) for n in range(7))
    )
    with pytest.raises(UnmappableStreamError) as error:
        compile_mapper(memory.start_run(), {f"p{n}": {"type": "string"} for n in range(7)})
    assert str(error.value).count("has changed from") == 5
    assert "; and 2 more." in str(error.value)


@pytest.mark.parametrize(("first", "second"), LOSSY, ids="-".join)
def test_new_property_is_remembered(first: str, second: str) -> None:
    """It has a name of its own in this run and in the next ones, whatever the setting then is.

    What it holds does not return to the first name, or its own column would keep an older value.
    """
    memory = RememberedProperties()
    run(memory, first, VALUES[first])
    result = run(memory, second, VALUES[second], type_changes="new_property")
    new_type = "string" if second == "union" else second
    name = "a_float" if new_type == "number" else f"a_{new_type}"
    assert result.keys() == {name}
    assert memory.saved[name].type is PropertyType(new_type)
    assert run(memory, second, VALUES[second]) == result
    if (second, first) in LOSSY:
        with pytest.raises(UnmappableStreamError, match=f"from {new_type} to {first}"):
            run(memory, first, VALUES[first])
    else:
        assert run(memory, first, VALUES[first]).keys() == {name}


def test_new_property_does_not_take_a_name_in_use() -> None:
    """It gets a number."""
    memory = RememberedProperties()
    state = memory.start_run()
    declared = {"amount": {"type": "integer"}, "amount_float": {"type": "integer"}}
    compile_mapper(state, declared, keys=()).map_record({"amount": 1, "amount_float": 1})
    declared["amount"] = {"type": "number"}
    mapper = compile_mapper(memory.start_run("new_property"), declared)
    assert [prop.name for prop in mapper.properties] == ["amount_float_2", "amount_float"]


def test_warn_sends_the_new_type() -> None:
    """A warning says so in every run, because the first type stays."""
    memory = RememberedProperties()
    run(memory, "integer", "7")
    for _ in range(2):
        memory.messages.clear()
        assert run(memory, "number", "7.50", type_changes="warn") == {"a": "7.50"}
        assert [message for message in memory.messages if "may be lost" in message]


@pytest.mark.parametrize("first", SCHEMAS)
def test_type_counts_from_the_first_value(first: str) -> None:
    """While all values are null, there is no column, and the type may change."""
    memory = RememberedProperties()
    run(memory, first, "null")
    assert memory.saved["a"].type is None
    assert run(memory, "number", "7.50") == {"a": "7.50"}
    assert memory.saved["a"].type is PropertyType.NUMBER


def test_rejected_record_does_not_count() -> None:
    """The type is stored when a value is sent."""
    memory = RememberedProperties()
    mapper = compile_mapper(memory.start_run(), {"id": {}, "a": {}, "b": {"type": "string"}})
    with suppress(Exception):
        mapper.map_record({"id": "1", "a": 1, "b": "x" * 40_000})
    assert {name: prop.type for name, prop in memory.saved.items()} == dict.fromkeys(
        ("id", "a", "b")
    )


@pytest.mark.parametrize(
    ("first", "value", "sent"),
    [
        ("integer", "7", {"a": "7"}),
        ("integer", "7.0", {"a": "7"}),
        ("number", "7", {"a": "7.0"}),
        ("boolean", "true", {"a": True}),
        ("timestamp", '"2024-01-31 10:00:00"', {"a": "2024-01-31T10:00:00"}),
        ("timestamp", '"2024-01-31"', {"a": "2024-01-31"}),
        ("string", "7", {"a": "7"}),
        ("integer", "null", {"a": None}),
    ],
)
def test_undeclared_property_keeps_the_declared_type(
    first: str, value: str, sent: dict[str, object]
) -> None:
    """A value that has it is sent as before."""
    memory = RememberedProperties()
    run(memory, first, VALUES[first])
    assert run(memory, None, value) == sent


@pytest.mark.parametrize(
    ("first", "value"),
    [
        ("integer", "7.5"),
        ("integer", "true"),
        ("integer", '"7"'),
        ("number", "true"),
        ("boolean", "1"),
        ("timestamp", '"soon"'),
        ("timestamp", "20240131"),
    ],
)
def test_undeclared_value_of_another_type_is_a_changed_type(first: str, value: str) -> None:
    """It stops the stream, or is sent as another property."""
    memory = RememberedProperties()
    run(memory, first, VALUES[first])
    with pytest.raises(UnmappableStreamError, match=f"from {first} to string"):
        run(memory, None, value)
    assert run(memory, None, value, type_changes="new_property").keys() == {"a_string"}


def test_undeclared_property_is_a_string_for_ever() -> None:
    """Also when a later schema declares it."""
    memory = RememberedProperties()
    assert run(memory, None, "7") == {"a": "7"}
    assert run(memory, "integer", "7") == {"a": "7"}
    assert memory.saved["a"].type is PropertyType.STRING


def test_name_stays_when_the_property_that_it_collided_with_is_gone() -> None:
    """In the next run, too, and its old name is not given to another."""
    memory = RememberedProperties()
    both = {"userId": {"type": "string"}, "user_id": {"type": "string"}}
    compile_mapper(memory.start_run(), both, keys=())
    alone = compile_mapper(memory.start_run(), {"userId": {"type": "string"}}, keys=())
    assert [prop.name for prop in alone.properties] == ["user_id_2"]
    other = compile_mapper(memory.start_run(), {"user-id": {"type": "string"}}, keys=())
    assert [prop.name for prop in other.properties] == ["user_id_3"]


paths = st.sampled_from(["a", "A", "a_float", "b", "B"])
runs = st.lists(
    st.lists(
        st.tuples(
            st.dictionaries(paths, st.sampled_from(sorted(SCHEMAS)), max_size=4),
            st.lists(
                st.dictionaries(
                    paths, st.sampled_from([*VALUES.values(), "null", "[1]"]), max_size=4
                ),
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=2,
    ),
    min_size=2,
    max_size=4,
)


def classify(value: object) -> str:
    """Return the kind of column that a value makes."""
    if isinstance(value, str) and value[:2] == "20":
        return "timestamp"
    return "number" if isinstance(value, float) else type(value).__name__


@given(runs=runs, policy=st.sampled_from(["fail", "new_property"]))
@example(
    runs=[[({"a": "integer"}, [{"a": "7"}])], [({"a": "number"}, [{"a": "7.50"}])]],
    policy="new_property",
)
def test_column_has_one_type_and_one_property(runs: Any, policy: Any) -> None:  # noqa: ANN401
    """Over all runs and SCHEMAs, a name has values of one type, or any as text, and one path."""
    memory = RememberedProperties()
    kinds: dict[str, str] = {}
    owners: dict[str, tuple[str, ...]] = {}
    for schemas in runs:
        state = memory.start_run(policy)
        with suppress(UnmappableStreamError):
            for declared, records in schemas:
                properties = {name: SCHEMAS[declared[name]] for name in declared}
                mapper = compile_mapper(state, {"id": SCHEMAS["string"], **properties})
                for record in records:
                    sent = map_valid(mapper, declared, record)
                    for name, value in sent.items():
                        is_text = memory.saved[name].type is PropertyType.STRING
                        kind = "text" if is_text else classify(value)
                        assert not is_text or isinstance(value, str)
                        assert kinds.setdefault(name, kind) == kind
    for prop in memory.saved.values():
        assert owners.setdefault(prop.name, prop.path) == prop.path


def map_valid(
    mapper: RecordMapper, declared: dict[str, str], record: dict[str, str]
) -> dict[str, object]:
    """Map what is valid of a record; return the values that are not null."""
    members = ['"id": "1"']
    for name, value in record.items():
        if name not in declared or value in {"null", VALUES[declared[name]]}:
            members.append(f'"{name}": {value}')
    line = f"{{{', '.join(members)}}}".encode()
    sent = json.loads(mapper.map_record(MessageReader().deserialize_json(line)))["properties"]
    return {name: value for name, value in sent.items() if value is not None}
