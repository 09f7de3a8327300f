"""Names: Segment's snake case, its fixed points, clashes, and collections."""

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
from target_segment_objects.sandbox.names import snake_case as warehouse_name

# Few characters, so that names meet often; and any text.
NAMES = st.text("aAbB2_- é名", min_size=1, max_size=4) | st.text(min_size=1, max_size=6)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
NAMED_PATHS = st.lists(PATHS.filter(naming.to_path_name), max_size=12, unique=True)


def test_the_rules_in_the_docstring_are_so() -> None:
    """Every example in the module's list of rules gives what it says."""
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
def test_snake_case_is_segments(text: str, name: str) -> None:
    """The examples of go-snakecase come out as there."""
    assert naming.to_snake_case(text) == name


@given(st.text() | st.text(string.ascii_letters + string.digits + "_- "))
def test_snake_case_is_what_the_warehouse_does(text: str) -> None:
    """For any text our snake case is that of the sandbox, which is written from the same facts."""
    assert naming.to_snake_case(text) == warehouse_name(text)


@given(NAMES | st.text(st.characters(categories=["Cs", "L", "M", "N"]), max_size=6))
@example("\ud800")
def test_a_property_name_is_a_fixed_point(text: str) -> None:
    """What the warehouse makes of a name that we gave is the same name."""
    name = naming.to_property_name(text)
    assert naming.to_property_name(name) == warehouse_name(name) == name


@given(NAMED_PATHS, st.sets(st.sampled_from(["a", "b", "a_b", "a_2", "a_b_2"])))
@example([("a",), ("A",), ("a_2",), ("A_2",)], set())
@example([("A",), ("A_2",), ("a",), ("a_2",), ("_a",)], {"a_3"})
def test_no_two_paths_share_a_name(paths: list[tuple[str, ...]], taken: set[str]) -> None:
    """Each path gets a name of its own, that no other has taken, and that the warehouse keeps."""
    names = naming.assign_unique_names(paths, taken)
    assert names.keys() == set(paths)
    assert len(set(names.values())) == len(paths)
    assert not taken & set(names.values())
    assert [warehouse_name(name) for name in names.values()] == list(names.values())


@given(NAMED_PATHS)
def test_who_is_in_snake_case_keeps_the_name(paths: list[tuple[str, ...]]) -> None:
    """A top-level property that is its own snake case is sent under its own name."""
    names = naming.assign_unique_names(paths)
    for path in paths:
        if len(path) == 1 and naming.to_snake_case(path[0]) == path[0]:
            assert names[path] == path[0]


@given(NAMED_PATHS)
def test_a_name_changes_only_in_a_clash(paths: list[tuple[str, ...]]) -> None:
    """Of the paths that want a name, one gets it; the others get it with a number."""
    names = naming.assign_unique_names(paths)
    for wanted in {naming.to_path_name(path) for path in paths}:
        got = [name for path, name in names.items() if naming.to_path_name(path) == wanted]
        assert got.count(wanted) == 1
        assert all(name == wanted or name.removeprefix(f"{wanted}_").isdigit() for name in got)


def test_those_that_give_way_are_numbered_in_the_schemas_order() -> None:
    """The first of them in the schema gets the smallest number."""
    names = naming.assign_unique_names([("B A",), ("bA",), ("b_a",), ("b-a",)])
    assert names == {("b_a",): "b_a", ("B A",): "b_a_2", ("bA",): "b_a_3", ("b-a",): "b_a_4"}


@given(NAMES, st.booleans())
def test_a_collections_name_is_one_that_segment_takes(stream: str, pluralize: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    """Any stream's collection keeps Segment's rules, or there is none."""
    name = naming.to_collection_name(stream, pluralize=pluralize)
    assert not name or naming.is_valid_collection(name)
    assert bool(name) == bool(naming.to_property_name(stream))


@given(st.text("ab2", min_size=100, max_size=300), st.text("ab2", min_size=100, max_size=300))
def test_two_long_streams_stay_two(one: str, other: str) -> None:
    """Names that are cut differ if what was cut differs."""
    names = {naming.to_collection_name(one), naming.to_collection_name(other)}
    assert len(names) == len({one, other})
    assert all(naming.is_valid_collection(name) for name in names)


def test_a_collections_name_is_cut_past_the_limit() -> None:
    """At 100 characters it stays whole; at 101 it is cut to 100."""
    at_limit = "x" * limits.MAX_COLLECTION_CHARACTERS
    assert naming.to_collection_name(at_limit) == at_limit
    cut = naming.to_collection_name(at_limit + "x")
    assert len(cut) == limits.MAX_COLLECTION_CHARACTERS
    assert cut.startswith("x" * 89 + "_")


@pytest.mark.parametrize("name", ["a", "a_b", "a" * 100])
def test_legal_collections(name: str) -> None:
    """Lowercase letters with underscores between them are taken."""
    assert naming.is_valid_collection(name)


@pytest.mark.parametrize("name", ["", "_a", "a_", "A", "a2", "a-b", "é", "a\n", "a" * 101])
def test_illegal_collections(name: str) -> None:
    """Everything else is not."""
    assert not naming.is_valid_collection(name)


def test_a_changed_collection_is_told_once() -> None:
    """A name beyond snake case is told at its first use, a snake-cased one never."""
    told: list[str] = []
    collections = CollectionResolver({}, pluralize=False, log=told.append)
    for stream in ("events_2024", "userEvents", "events_2024"):
        collections.resolve(stream)
    assert told == ["Stream 'events_2024' goes to the collection events_two_zero_two_four."]


def test_streams_that_meet_are_refused() -> None:
    """The message names both streams and the way out; the first one goes on."""
    collections = CollectionResolver({"c": "a_b"}, pluralize=False, log=print)
    assert collections.resolve("a-b") == "a_b"
    for other in ("a.b", "c"):
        with pytest.raises(UnmappableStreamError, match=f"'a-b' and '{other}' .* collection_map"):
            collections.resolve(other)
    assert collections.resolve("a-b") == "a_b"


def test_the_user_may_merge_streams() -> None:
    """The same collection for both in `collection_map` is their word; a third needs it, too."""
    collections = CollectionResolver({"a": "x", "b": "x"}, pluralize=False, log=print)
    assert collections.resolve("a") == collections.resolve("b") == "x"
    with pytest.raises(UnmappableStreamError, match="'a' and 'x'"):
        collections.resolve("x")
