"""The names of tables and columns, and what is special about them."""

from __future__ import annotations

import doctest
import string
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.limits import MAX_COLLECTIONS
from target_segment_objects.sandbox import column_names
from target_segment_objects.sandbox.column_names import snake_case
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.losses import Loss
from target_segment_objects.sandbox.wording import list_special_names
from tests.support.bare_http import BareClient, object_line

if TYPE_CHECKING:
    from pathlib import Path


def test_docstring_examples_pass() -> None:
    """Every example in the docstrings gives the result beside it."""
    results = doctest.testmod(column_names)
    assert results.attempted >= 10
    assert not results.failed


@pytest.mark.parametrize(
    ("name", "column"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("_", "", id="underscore"),
        pytest.param("a", "a", id="letter"),
        pytest.param("A1b2C3", "a1b2_c3", id="alternating"),
        pytest.param("1a", "1a", id="leading digit"),
        pytest.param("already_snake_case", "already_snake_case", id="snake case"),
        pytest.param("__a__b__", "a_b", id="repeated underscores"),
        pytest.param("naïve", "na_ve", id="accent"),
        pytest.param("ÜBER", "ber", id="leading accent"),
        pytest.param("\u212a", "", id="kelvin sign"),
        pytest.param("a\0b\n", "a_b", id="control characters"),
    ],
)
def test_snake_case(name: str, column: str) -> None:
    """A word is capitals and digits, then small letters and digits; all else separates."""
    assert snake_case(name) == column


@given(st.text(alphabet=string.ascii_letters + string.digits + "_ -é"))
def test_snake_case_is_stable(name: str) -> None:
    """A converted name does not change again: lowercase words joined by one underscore."""
    column = snake_case(name)
    assert snake_case(column) == column
    assert not set(column) - set(string.ascii_lowercase + string.digits + "_")
    assert column == column.strip("_")
    assert "__" not in column


@pytest.mark.parametrize(
    ("name", "remarks"),
    [
        pytest.param("orders", "", id="ordinary"),
        pytest.param("_2fa", "sent as 2fa: a name cannot begin with a digit", id="digit"),
        pytest.param("_tag", "sent as tag: a reserved word of Redshift", id="Redshift"),
        pytest.param("start", "a reserved word of Snowflake: a sync may fail", id="Snowflake"),
        pytest.param(
            "_group",
            "sent as group: a reserved word of Redshift; a reserved word of Snowflake: a sync may "
            "fail",
            id="both",
        ),
        pytest.param(
            "ctid", "a system column of Postgres and Redshift: a sync fails", id="system column"
        ),
        pytest.param("x" * 63, "", id="63 bytes"),
        pytest.param("x" * 64, "more than 63 bytes: Postgres truncates the name", id="64 bytes"),
        pytest.param(
            "x" * 128,
            "more than 63 bytes: Postgres truncates the name; more than 127 bytes: Redshift "
            "truncates the name",
            id="128 bytes",
        ),
    ],
)
def test_description_of_a_name(name: str, remarks: str) -> None:
    """Each rule of a warehouse that changes or rejects a name is named."""
    assert column_names.describe_name(name) == remarks


def test_number_of_collections_is_reported() -> None:
    """5,000 collections are not special, one more is."""
    tables: dict[str, list[str]] = {f"t{number}": ["a"] for number in range(MAX_COLLECTIONS)}
    assert list_special_names(tables) == []
    tables["last"] = []
    assert list_special_names(tables) == [
        ("all", "more than 5,000 collections: Segment selects fewer")
    ]


def test_names_in_the_warehouse(tmp_path: Path) -> None:
    """Columns and tables are renamed, and Segment's own columns are not written."""
    properties = {"2fa": 1, "Group": 2, "uuid": "u", "receivedAt": "now", "loaded_at": None}
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(
            object_line(properties, collection="order"),
            object_line({"2fa": 3, "uuid": "2", "uuid_ts": "x"}, collection="order", object_id="2"),
        )
        client.load_files(object_line({"group": 4}, collection="order"))
        warehouse = sandbox.warehouse
        assert warehouse.collections() == ["order"]
        assert list_special_names({"order": warehouse.columns("order")})[0][0] == "_order"
        assert warehouse.rows("order") == [
            {"id": "1", "_2fa": 1, "_group": 4},
            {"id": "2", "_2fa": 3, "_group": None},
        ]
        assert warehouse.losses() == [
            Loss("order", "received_at", "discarded", 1, "1"),
            Loss("order", "uuid", "discarded", 1, "1"),  # that of 2 is its id
            Loss("order", "uuid_ts", "discarded", 1, "2"),
        ]
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        assert connection.table("_order").columns == ["id", "_2fa", "_group"]
