"""Name properties and collections in Segment. Pure: the rules depend on no record.

1. A property's name is converted to Segment's snake case (go-snakecase): in the ASCII text, a word
   is a run of capitals and digits followed by a run of small letters and digits. Everything else
   separates words. Words are lowercased and joined by one underscore.

   >>> [to_snake_case(name) for name in ("sampleText", "CStringRef", "THE5r", "FOO:BAR$BAZ")]
   ['sample_text', 'cstring_ref', 'the5r', 'foo_bar_baz']

   A warehouse applies the same rule to what it gets, and leaves these names unchanged.

2. Accents are removed first, as far as Unicode's decomposition goes.

   >>> to_property_name("Prénom"), to_property_name("Größe")
   ('prenom', 'gro_e')

3. If nothing of the name is left, it is transliterated. If still nothing is left, there is no name.

   >>> to_property_name("名前"), to_property_name("---")
   ('ming_qian', '')

4. A path through nested objects is named level by level, joined by one underscore. If several
   paths have the same name, the one that already is in snake case keeps it (among equals the one
   with the fewest levels, then the first in the schema). The others get `_2`, `_3` in the schema's
   order. A number is skipped if that name is in use.

   >>> assign_unique_names([("userId",), ("user_id",), ("user", "id")])
   {('user_id',): 'user_id', ('userId',): 'user_id_2', ('user', 'id'): 'user_id_3'}

5. If names have a maximum length, the end of a longer one is replaced by ten letters of a digest,
   so that two long names stay different.

   >>> shorten_name("billing_address_street_name", 20)
   'billing_a_limmuwppxd'

6. A collection's name has no digits: they are spelled out. It has at most 100 characters.

   >>> to_collection_name("public-events_2024"), to_collection_name("S3Files")
   ('public_events_two_zero_two_four', 's_three_files')
"""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from typing import TYPE_CHECKING, Final, TypeAlias

import anyascii
import inflection

from target_segment_objects import limits
from target_segment_objects.exceptions import UnmappableStreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

PropertyPath: TypeAlias = "tuple[str, ...]"
"""The names from the record down to a property: one for each level of nesting."""

_WORD_PATTERN: Final = re.compile(r"[A-Z0-9]+[a-z0-9]*|[a-z0-9]+")
_COLLECTION_PATTERN: Final = re.compile(r"[a-z]+(?:_[a-z]+)*")  # a warehouse folds __ to _
_DIGIT_WORDS: Final = {
    digit: f"_{word}_"
    for digit, word in zip(
        string.digits,
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
        strict=True,
    )
}
_DIGEST_LETTERS: Final = 10  # 26 ** 10 names, so that long names do not collide


def to_snake_case(text: str) -> str:
    """Return a name in Segment's snake case; empty if it has no ASCII letter or digit."""
    return "_".join(_WORD_PATTERN.findall(text)).lower()


def format_path(path: Iterable[str]) -> str:
    """Return a path as messages show it: complete, and encodable wherever they are written."""
    return ".".join(path).encode(errors="backslashreplace").decode()


def to_property_name(text: str) -> str:
    """Return the name of a property or of one level of a path; empty if there is none."""
    if text.isascii():
        return to_snake_case(text)
    decomposed = unicodedata.normalize("NFKD", text)
    unaccented = "".join(char for char in decomposed if not unicodedata.combining(char))
    return to_snake_case(unaccented) or to_snake_case(anyascii.anyascii(text))


def to_path_name(path: PropertyPath) -> str:
    """Return the name of a path through nested objects; empty if a level has no name."""
    levels = [to_property_name(level) for level in path]
    return "_".join(levels) if all(levels) else ""


def shorten_name(name: str, max_length: int | None) -> str:
    """Return a name of at most a length, which depends on nothing but the name."""
    if max_length is None or len(name) <= max_length:
        return name
    kept = name[: max_length - _DIGEST_LETTERS - 1].rstrip("_")
    return f"{kept}_{_hash_to_letters(name)}"


def find_free_name(wanted: str, taken: Container[str], max_length: int | None = None) -> str:
    """Return a name that is not in use: the wanted one, or else one with a number.

    Args:
        wanted: The name, of at most the maximum length.
        taken: Names that are in use.
        max_length: The maximum length, or None.
    """
    name, number = wanted, 2
    while name in taken:
        suffix = f"_{number}"
        kept = wanted if max_length is None else wanted[: max_length - len(suffix)]
        name = f"{kept.rstrip('_')}{suffix}"
        number += 1
    return name


def assign_unique_names(
    paths: Iterable[PropertyPath], taken: Iterable[str] = (), *, max_length: int | None = None
) -> dict[PropertyPath, str]:
    """Assign a different name to each path.

    Args:
        paths: Different paths in the schema's order. Each has a name of its own.
        taken: Names that are in use already.
        max_length: The most characters of a name; None for no limit.

    Returns:
        Path to name: first the paths that keep their name, then those that get a number.
    """
    wanted = {path: shorten_name(to_path_name(path), max_length) for path in paths}
    # A path that already is its name ranks first, then fewer levels rank before more. The sort is
    # stable, so the schema's order decides among equals.
    ranked = sorted(wanted, key=lambda path: ("_".join(path) != wanted[path], len(path)))
    names: dict[PropertyPath, str] = {}
    used = set(taken)
    for path in ranked:
        if wanted[path] not in used:
            names[path] = wanted[path]
            used.add(wanted[path])
    for path in [path for path in wanted if path not in names]:
        names[path] = find_free_name(wanted[path], used, max_length)
        used.add(names[path])
    return names


def to_collection_name(stream: str, *, pluralize: bool = False) -> str:
    """Return the name of a stream's collection.

    Args:
        stream: The stream's name.
        pluralize: Whether the last word becomes its English plural (`order` → `orders`). A name
            that ends in a digit is not changed.

    Returns:
        At most `limits.MAX_COLLECTION_CHARACTERS` lowercase letters and underscores, without an
        underscore first or last; empty if the name has no letter or digit.
    """
    name = to_property_name(stream)
    if pluralize and name and name[-1] not in string.digits:
        name = inflection.pluralize(name)
    spelled = "".join(_DIGIT_WORDS.get(char, char) for char in name)
    words = "_".join(word for word in spelled.split("_") if word)
    return shorten_name(words, limits.MAX_COLLECTION_CHARACTERS)


def is_valid_collection(name: str) -> bool:
    """Return whether Segment accepts a name for a collection."""
    return len(name) <= limits.MAX_COLLECTION_CHARACTERS and bool(
        _COLLECTION_PATTERN.fullmatch(name)
    )


def _hash_to_letters(text: str) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(_DIGEST_LETTERS):
        number, index = divmod(number, len(string.ascii_lowercase))
        letters.append(string.ascii_lowercase[index])
    return "".join(letters)


class CollectionResolver:
    """Resolves each stream to its collection. Only the user can merge two streams in one."""

    def __init__(
        self, collection_map: Mapping[str, str], *, pluralize: bool, log: Callable[[str], object]
    ) -> None:
        """Start without a stream.

        Args:
            collection_map: Stream to collection, as the user configured it.
            pluralize: Whether other names become plural.
            log: Takes a message, once for each name that is changed beyond snake case.
        """
        self._collection_map = collection_map
        self._pluralize = pluralize
        self._log = log
        self._streams: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many collections there are so far."""
        return len(self._streams)

    def resolve(self, stream: str) -> str:
        """Return the collection of a stream.

        Raises:
            UnmappableStreamError: The stream has no name in Segment, or another has the same.
        """
        if stream in self._collection_map:
            collection = self._collection_map[stream]
        else:
            collection = to_collection_name(stream, pluralize=self._pluralize)
        if not collection:
            msg = (
                f"Stream '{stream}' has no letter or digit in its name, so Segment has no name for "
                "it. Name its collection in collection_map."
            )
            raise UnmappableStreamError(msg)
        if collection not in self._streams and collection not in (
            self._collection_map.get(stream),
            to_snake_case(stream),
        ):
            self._log(f"Stream '{stream}' goes to the collection {collection}.")
        first = self._streams.setdefault(collection, stream)
        if first != stream and not {first, stream} <= self._collection_map.keys():
            msg = (
                f"Streams '{first}' and '{stream}' would both go to the collection {collection}. "
                "Name a collection for each in collection_map, or the same for both to merge them."
            )
            raise UnmappableStreamError(msg)
        return collection
