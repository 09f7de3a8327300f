"""The name of the warehouse column for a property: Segment's snake case.

In ASCII text, a word is a run of capitals and digits followed by a run of small letters and digits.
Every other character separates words, also one outside ASCII. Words are lowercased and joined by
one underscore.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase, digits


class _Position(IntEnum):
    """Where the last character stood; ordered as a word passes through them."""

    SEPARATOR = 0
    CAPITALS = 1
    SMALL_LETTERS = 2


@lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """Convert the name of a property.

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

    Characters outside ASCII, and a name without any word:

    >>> snake_case("caféBar")
    'caf_bar'
    >>> snake_case("_日本_")
    ''
    """
    words: list[str] = []
    last = _Position.SEPARATOR
    for character in name:
        if character in ascii_uppercase:
            starts_word, last = last is not _Position.CAPITALS, _Position.CAPITALS
        elif character in digits:
            starts_word, last = last is _Position.SEPARATOR, max(last, _Position.CAPITALS)
        elif character in ascii_lowercase:
            starts_word, last = last is _Position.SEPARATOR, _Position.SMALL_LETTERS
        else:
            last = _Position.SEPARATOR
            continue
        if starts_word:
            words.append("")
        words[-1] += character.lower()
    return "_".join(words)
