"""The meaning of a response, for random input."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.segment.responses import MAX_RETRY_AFTER_SECONDS, parse_retry_after


@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [+-]?\w*"))
def test_any_retry_after_is_a_bounded_wait_or_ignored(value: str) -> None:
    """Whatever the header holds."""
    seconds = parse_retry_after(value)
    assert seconds is None or 0 < seconds <= MAX_RETRY_AFTER_SECONDS
