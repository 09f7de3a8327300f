"""Names of columns and tables in a warehouse."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_segment_objects import reserved_names
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.warehouse import names
from target_segment_objects.sandbox import column_names as sandbox_names


def test_docstring_examples_pass() -> None:
    """Every example in the module's list of rules gives the result beside it."""
    assert doctest.testmod(names).failed == 0
    assert doctest.testmod(names).attempted


@pytest.mark.parametrize("list_name", sorted(vars(reserved_names).keys() & {
    "REDSHIFT_RESERVED_WORDS", "SEGMENT_COLUMNS", "SNOWFLAKE_RESERVED_WORDS", "SYSTEM_COLUMNS",
}))  # fmt: skip
def test_reserved_names_are_in_snake_case(list_name: str) -> None:
    """Every reserved name can be that of a property: else it would never be found."""
    for name in vars(reserved_names)[list_name]:
        assert naming.to_property_name(name) == name


@given(st.text(min_size=1) | st.sampled_from(sorted(reserved_names.REDSHIFT_RESERVED_WORDS)))
def test_no_other_name_gets_a_renamed_column(text: str) -> None:
    """A renamed column begins with an underscore, as no name that is sent does."""
    name = naming.to_property_name(text)
    column = names.to_column_name(name)
    assert column is None or column in (name, f"_{name}")
    assert not name.startswith("_")


@given(st.text(min_size=1) | st.sampled_from(sorted(reserved_names.REDSHIFT_RESERVED_WORDS)))
@example("Received At")
def test_names_are_those_of_the_sandbox(text: str) -> None:
    """The sandbox, which implements the rules on its own, gives the same names."""
    name = naming.to_property_name(text)
    column = sandbox_names.column_name(name)
    own = reserved_names.SEGMENT_COLUMNS
    assert names.to_column_name(name) == (None if column in own else column)
    assert names.to_table_name(name) == sandbox_names.table_name(name)


@pytest.mark.parametrize(
    ("given_names", "size", "expected"),
    [
        pytest.param(["aab", "aac"], 2, True, id="equal"),
        pytest.param(["aab", "aa"], 2, True, id="the end of one is cut"),
        pytest.param(["aab", "aac"], 3, False, id="different"),
        pytest.param(["aab", "aab"], 2, False, id="the same name"),
    ],
)
def test_equal_prefixes(given_names: list[str], size: int, *, expected: bool) -> None:
    """Different names with the same first bytes become one when they are truncated."""
    assert names.has_equal_prefixes(given_names, size) is expected
