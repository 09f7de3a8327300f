"""Ids and digests of objects, as the ledger keeps them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.ledger.digests import (
    DIGEST_BYTES,
    compile_digest,
    format_object_id,
    read_ids,
    to_object_id,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
DIGITS = st.text("0123456789-", min_size=1, max_size=20)
BACKSLASHES = st.text("\\0\0\"'a", min_size=1, max_size=5)


def build_line(object_id: str, **properties: object) -> bytes:
    """Return an object's line, as the mapping writes it."""
    return msgspec.json.encode({"id": object_id, "collection": "users", "properties": properties})


@given(st.lists(TEXTS | DIGITS | BACKSLASHES, min_size=1, max_size=5))
def test_ids_are_read_and_written_unchanged(ids: list[str]) -> None:
    """Whatever an id is, and whatever the others of its chunk are: it returns as it was."""
    found = read_ids([build_line(object_id, id=1) for object_id in ids])
    assert [format_object_id(object_id) for object_id in found] == ids
    assert found == [to_object_id(object_id) for object_id in ids]
    assert all("\0" not in object_id for object_id in found if isinstance(object_id, str))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("7", 7),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, "9" * 19),
        ("007", "007"),
        ("-7", "-7"),
        ("٣", "٣"),
        ("1.0", "1.0"),
    ],
    ids=ascii,
)
def test_plain_integers_are_integers(text: str, expected: int | str) -> None:
    """Only what is written in one way is an integer: "7" and "007" are two objects."""
    assert read_ids([build_line(text)]) == [expected]


def test_digest_is_that_of_the_whole_line() -> None:
    """A change of the id, the collection or a property is another digest."""
    digest = compile_digest(())
    lines = [
        build_line("1", a=1),
        build_line("2", a=1),
        build_line("1", a=2),
        build_line("1", b=1),
        build_line("1", a=1).replace(b"users", b"orders"),
    ]
    digests = {digest(line) for line in lines}
    assert len(digests) == len(lines)
    assert {len(found) for found in digests} == {DIGEST_BYTES}


def test_ignored_properties_do_not_count() -> None:
    """Their values, and whether they are there, change nothing; text that looks like them does."""
    digest = compile_digest({"sdc_sequence", "sdc_batched_at"})
    first = digest(build_line("1", a=1, sdc_sequence=1, sdc_batched_at="x"))
    assert digest(build_line("1", a=1, sdc_sequence=2, sdc_batched_at="y")) == first
    assert digest(build_line("1", a=1)) == first
    assert digest(build_line("1", a=2, sdc_sequence=1)) != first
    texts = [digest(build_line("1", a=f'"sdc_sequence":{number}')) for number in range(2)]
    assert texts[0] != texts[1]
