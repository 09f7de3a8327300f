"""Counts with their nouns, for messages: "1 object", "2,000 objects"."""

from __future__ import annotations


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun in the singular or the regular plural.

    >>> format_count(1, "session"), format_count(2000, "object")
    ('1 session', '2,000 objects')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
