"""Names: Segment's snake case, collisions, and collections."""

from __future__ import annotations

import doctest
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_segment_objects import limits
from target_segment_objects.exceptions import UnmappableStreamError
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.naming import CollectionResolver
from target_segment_objects.sandbox.column_names import snake_case as warehouse_name

# Few characters, so that names collide often; and any string.
NAMES = st.text("aAbB2_- é名", min_size=1, max_size=4) | st.text(min_size=1, max_size=6)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
NAMED_PATHS = st.lists(PATHS.filter(naming.to_path_name), max_size=12, unique=True)


def test_docstring_examples_pass() -> None:
    """Every example in the module's list of rules gives the result beside it."""
    assert doctest.testmod(naming).failed == 0
    assert doctest.testmod(naming).attempted >= 5


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sampleText", "sample_text"),
        ("CStringRef", "cstring_ref"),
        ("FOO:BAR$BAZ", "foo_bar_baz"),
        ("THE5r", "the5r"),
        ("edf_6N", "edf_6n"),
        ("Enabled 2FA", "enabled_2fa"),
        ("___$$Base64Encode", "base64_encode"),
        ("lk0B@bFmjrLQ_Z6YL", "lk0_b_b_fmjr_lq_z6yl"),
        ("userID", "user_id"),
        ("a__b", "a_b"),
    ],
)
def test_snake_case_equals_go_snakecase(text: str, name: str) -> None:
    """The examples of go-snakecase have its results."""
    assert naming.to_snake_case(text) == name


@given(st.text() | st.text(string.ascii_letters + string.digits + "_- "))
def test_snake_case_equals_the_warehouses(text: str) -> None:
    """The sandbox, which implements the rule on its own, gives the same result for any string."""
    assert naming.to_snake_case(text) == warehouse_name(text)


@given(NAMES | st.text(st.characters(categories=["Cs", "L", "M", "N"]), max_size=6))
@example("\ud800")
def test_warehouse_does_not_change_a_property_name(text: str) -> None:
    """A name that was assigned here is its own snake case."""
    name = naming.to_property_name(text)
    assert naming.to_property_name(name) == warehouse_name(name) == name


@given(NAMED_PATHS, st.sets(st.sampled_from(["a", "b", "a_b", "a_2", "a_b_2"])))
@example([("a",), ("A",), ("a_2",), ("A_2",)], set())
@example([("A",), ("A_2",), ("a",), ("a_2",), ("_a",)], {"a_3"})
def test_paths_get_different_names(paths: list[tuple[str, ...]], taken: set[str]) -> None:
    """Each path gets a name that is not in use and that the warehouse does not change."""
    names = naming.assign_unique_names(paths, taken)
    assert names.keys() == set(paths)
    assert len(set(names.values())) == len(paths)
    assert not taken & set(names.values())
    assert [warehouse_name(name) for name in names.values()] == list(names.values())


@given(NAMED_PATHS)
def test_snake_case_property_keeps_its_name(paths: list[tuple[str, ...]]) -> None:
    """A top-level property that is its own snake case is sent under its own name."""
    names = naming.assign_unique_names(paths)
    for path in paths:
        if len(path) == 1 and naming.to_snake_case(path[0]) == path[0]:
            assert names[path] == path[0]


@given(NAMED_PATHS)
def test_only_collisions_get_a_number(paths: list[tuple[str, ...]]) -> None:
    """Of the paths with the same name, one keeps it; the others get it with a number."""
    names = naming.assign_unique_names(paths)
    for wanted in {naming.to_path_name(path) for path in paths}:
        got = [name for path, name in names.items() if naming.to_path_name(path) == wanted]
        assert got.count(wanted) == 1
        assert all(name == wanted or name.removeprefix(f"{wanted}_").isdigit() for name in got)


def test_collisions_are_numbered_in_the_schemas_order() -> None:
    """The first of them in the schema gets the smallest number."""
    names = naming.assign_unique_names([("B A",), ("bA",), ("b_a",), ("b-a",)])
    assert names == {("b_a",): "b_a", ("B A",): "b_a_2", ("bA",): "b_a_3", ("b-a",): "b_a_4"}


@given(
    st.lists(st.lists(st.text("aB_", min_size=1, max_size=25).filter(naming.to_property_name),
                      min_size=1, max_size=3).map(tuple), max_size=6, unique=True),
    st.integers(20, 40),
)  # fmt: skip
@example([("a" * 21,), ("A" * 21,)], 20)
@example([("a_" * 14,), ("A_" * 14,), ("a", "a_" * 13)], 20)
def test_names_have_a_maximum_length(paths: list[tuple[str, ...]], length: int) -> None:
    """They are no longer, they stay different, and a short one that is alone is not changed."""
    names = naming.assign_unique_names(paths, max_length=length)
    assert names.keys() == set(paths)
    assert len(set(names.values())) == len(paths)
    assert max(map(len, names.values()), default=0) <= length
    assert [warehouse_name(name) for name in names.values()] == list(names.values())
    if len({*map(naming.to_path_name, paths)}) == len(paths):
        alone = [naming.assign_unique_names([path], max_length=length)[path] for path in paths]
        assert [names[path] for path in paths] == alone
        assert all(
            name == naming.to_path_name(path)
            for path, name in names.items()
            if len(naming.to_path_name(path)) <= length
        )


@given(NAMES, st.booleans())
def test_collection_name_is_valid(stream: str, pluralize: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    """Any stream's collection follows Segment's rules, or there is none."""
    name = naming.to_collection_name(stream, pluralize=pluralize)
    assert not name or naming.is_valid_collection(name)
    assert bool(name) == bool(naming.to_property_name(stream))


@given(st.text("ab2", min_size=100, max_size=300), st.text("ab2", min_size=100, max_size=300))
def test_long_collection_names_stay_different(first: str, second: str) -> None:
    """Shortened names differ if the parts that were cut off differ."""
    names = {naming.to_collection_name(first), naming.to_collection_name(second)}
    assert len(names) == len({first, second})
    assert all(naming.is_valid_collection(name) for name in names)


def test_collection_name_is_shortened_past_the_limit() -> None:
    """100 characters are kept; 101 are shortened to 100."""
    at_limit = "x" * limits.MAX_COLLECTION_CHARACTERS
    assert naming.to_collection_name(at_limit) == at_limit
    shortened = naming.to_collection_name(at_limit + "x")
    assert len(shortened) == limits.MAX_COLLECTION_CHARACTERS
    assert shortened.startswith("x" * 89 + "_")


@pytest.mark.parametrize("name", ["a", "a_b", pytest.param("a" * 100, id="100 characters")])
def test_valid_collection_names(name: str) -> None:
    """Lowercase letters with underscores between them are accepted."""
    assert naming.is_valid_collection(name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        *("_a", "a_", "A", "a2", "a-b", "é", "a\n"),
        pytest.param("a" * 101, id="101 characters"),
    ],
)
def test_invalid_collection_names(name: str) -> None:
    """Anything else is not accepted."""
    assert not naming.is_valid_collection(name)


def test_changed_collection_name_is_logged_once() -> None:
    """A name that is changed beyond snake case is logged at its first use."""
    messages: list[str] = []
    collections = CollectionResolver({}, pluralize=False, log=messages.append)
    for stream in ("events_2024", "userEvents", "events_2024"):
        collections.resolve(stream)
    assert messages == ["Stream 'events_2024' goes to the collection events_two_zero_two_four."]


def test_streams_of_one_collection_are_refused() -> None:
    """The message names both streams and what to do; the first stream goes on."""
    collections = CollectionResolver({"c": "a_b"}, pluralize=False, log=print)
    assert collections.resolve("a-b") == "a_b"
    for other in ("a.b", "c"):
        with pytest.raises(UnmappableStreamError, match=f"'a-b' and '{other}' .* collection_map"):
            collections.resolve(other)
    assert collections.resolve("a-b") == "a_b"


def test_user_can_merge_streams() -> None:
    """`collection_map` names the collection for both streams; a third stream needs it, too."""
    collections = CollectionResolver({"a": "x", "b": "x"}, pluralize=False, log=print)
    assert collections.resolve("a") == collections.resolve("b") == "x"
    with pytest.raises(UnmappableStreamError, match="'a' and 'x'"):
        collections.resolve("x")
