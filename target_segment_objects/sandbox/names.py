"""The name that a warehouse's column gets for a property: Segment's snake case.

In the ASCII text, a word is a run of capitals and digits followed by a run of small letters and
digits; everything else separates words, a character outside ASCII too. Words are lowercased and
joined by one underscore.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase, digits


class _State(IntEnum):
    """Where in a word a character stands."""

    GAP = 0  # between words
    HEAD = 1  # among its capitals
    TAIL = 2  # past them


@lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """Convert a property's name.

    Examples from the tests of Segment's go-snakecase:

    >>> snake_case("sampleText")
    'sample_text'
    >>> snake_case("CStringRef")
    'cstring_ref'
    >>> snake_case("FOO:BAR$BAZ")
    'foo_bar_baz'
    >>> snake_case("THE5r")
    'the5r'
    >>> snake_case("edf_6N")
    'edf_6n'
    >>> snake_case("Enabled 2FA")
    'enabled_2fa'
    >>> snake_case("___$$Base64Encode")
    'base64_encode'
    >>> snake_case("lk0B@bFmjrLQ_Z6YL")
    'lk0_b_b_fmjr_lq_z6yl'

    Outside ASCII, and with no word at all:

    >>> snake_case("caféBar")
    'caf_bar'
    >>> snake_case("_日本_")
    ''
    """
    words: list[str] = []
    state = _State.GAP
    for character in name:
        if character in ascii_uppercase:
            starts, state = state is not _State.HEAD, _State.HEAD
        elif character in digits:
            starts, state = state is _State.GAP, max(state, _State.HEAD)
        elif character in ascii_lowercase:
            starts, state = state is _State.GAP, _State.TAIL
        else:
            state = _State.GAP
            continue
        if starts:
            words.append("")
        words[-1] += character.lower()
    return "_".join(words)
