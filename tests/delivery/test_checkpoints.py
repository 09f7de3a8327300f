"""The decision when a STATE may be written: its rules, step by step and for random input."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.checkpoints import Checkpoint, Checkpoints

STEPS = st.lists(st.sampled_from(("open", "deliver", "state")), max_size=60)


def test_a_state_without_batches_is_released_at_once() -> None:
    """Nothing lies before it, so it covers nothing that could be missing."""
    assert Checkpoints().add_state({"at": 0}) == Checkpoint({"at": 0})


def test_a_state_waits_for_every_batch_opened_before_it() -> None:
    """Also when a later batch is delivered first; the batch opened after it does not matter."""
    checkpoints = Checkpoints()
    checkpoints.open_batch("a")
    checkpoints.open_batch("b")
    assert checkpoints.add_state(1) is None
    checkpoints.open_batch("c")
    assert checkpoints.mark_delivered("b") is None
    released = checkpoints.mark_delivered("a")
    assert released is not None
    assert released.state == 1


def test_only_the_newest_state_is_released() -> None:
    """Older ones that could be written at the same time say less, and are dropped."""
    checkpoints = Checkpoints()
    checkpoints.open_batch("a")
    checkpoints.add_state(1)
    checkpoints.open_batch("b")
    checkpoints.add_state(2)
    assert checkpoints.mark_delivered("b") is None
    released = checkpoints.mark_delivered("a")
    assert released is not None
    assert released.state == 2


def test_a_repeated_state_is_not_released_again() -> None:
    """A tap that repeats itself causes no output."""
    checkpoints = Checkpoints()
    checkpoints.add_state({"at": 1})
    assert checkpoints.add_state({"at": 1}) is None


def test_null_is_a_state_like_any_other() -> None:
    """The first one is released, and not taken for the absence of a STATE."""
    checkpoints = Checkpoints()
    assert checkpoints.add_state(None) == Checkpoint(None)
    assert checkpoints.add_state(None) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"n": 1}, {"n": True}, id="1 and true"),
        pytest.param({"n": 0}, {"n": False}, id="0 and false"),
        pytest.param({"n": 1}, {"n": 1.0}, id="integer and float"),
        pytest.param([{"n": [1]}], [{"n": [Decimal(1)]}], id="nested"),
        pytest.param({"n": Decimal("1.0")}, {"n": Decimal("1.00")}, id="digits of a number"),
    ],
)
def test_states_that_differ_only_in_json_are_released(first: object, second: object) -> None:
    """Python finds them equal; the tap that reads them may not."""
    assert first == second
    checkpoints = Checkpoints()
    checkpoints.add_state(first)
    assert checkpoints.add_state(second) == Checkpoint(second)


def test_a_delivered_batch_may_be_opened_again() -> None:
    """Only one that is still undelivered may not."""
    checkpoints = Checkpoints()
    checkpoints.open_batch("a")
    checkpoints.mark_delivered("a")
    checkpoints.open_batch("a")
    assert checkpoints.add_state(1) is None


def test_a_batch_cannot_be_opened_twice() -> None:
    """A bug of the caller is reported with the batch."""
    checkpoints = Checkpoints()
    checkpoints.open_batch("a")
    with pytest.raises(ValueError, match="'a' is open already"):
        checkpoints.open_batch("a")


def test_only_an_open_batch_can_be_delivered() -> None:
    """Neither an unknown batch nor one that is delivered already."""
    checkpoints = Checkpoints()
    with pytest.raises(ValueError, match="'a' was not opened"):
        checkpoints.mark_delivered("a")


@given(steps=STEPS, data=st.data())
def test_released_states_cover_only_delivered_batches(
    steps: list[str], data: st.DataObject
) -> None:
    """Whatever the order of batches and STATEs: sound, monotonic, prompt, and bounded in memory."""
    checkpoints = Checkpoints()
    numbers = itertools.count()
    undelivered: list[int] = []
    waiting: dict[int, set[int]] = {}  # STATE -> the batches that it waits for, by brute force
    released: list[int] = []
    for step in steps:
        number = next(numbers)
        if step == "open":
            checkpoints.open_batch(number)
            undelivered.append(number)
            continue
        if step == "state":
            waiting[number] = set(undelivered)
            result = checkpoints.add_state(number)
        elif undelivered:
            batch = data.draw(st.sampled_from(undelivered))
            undelivered.remove(batch)
            for batches in waiting.values():
                batches.discard(batch)
            result = checkpoints.mark_delivered(batch)
        else:
            continue
        ready = [state for state, batches in waiting.items() if not batches]
        newest = max(ready, default=-1)
        expected = newest if newest > max(released, default=-1) else None
        assert (None if result is None else result.state) == expected
        if expected is not None:
            released.append(expected)
        assert len(checkpoints._held) == len(undelivered)  # noqa: SLF001 - memory has no interface
