"""The names that things get in Segment, by rules that need no record to be seen. Pure.

1. A property's name is Segment's snake case of it (go-snakecase): in the ASCII text, a word is a
   run of capitals and digits followed by a run of small letters and digits; everything else
   separates words; words are lowercased and joined by one underscore.

   >>> [to_snake_case(name) for name in ("sampleText", "CStringRef", "THE5r", "FOO:BAR$BAZ")]
   ['sample_text', 'cstring_ref', 'the5r', 'foo_bar_baz']

   A warehouse applies the same to what it gets, so our names are fixed points of it.

2. Accented letters lose their accents first, as far as Unicode's decomposition goes.

   >>> to_property_name("Prénom"), to_property_name("Größe")
   ('prenom', 'gro_e')

3. A name of which nothing is left is transliterated. If still nothing is left, there is no name.

   >>> to_property_name("名前"), to_property_name("---")
   ('ming_qian', '')

4. A path through nested objects is named level by level, joined by one underscore. Where two
   paths meet in one name, the one that already was in snake case keeps it (among equals the one
   of the fewest levels, then the schema's first), and the others get `_2`, `_3` in the schema's
   order. A number that another name already ends in is passed over.

   >>> assign_unique_names([("userId",), ("user_id",), ("user", "id")])
   {('user_id',): 'user_id', ('userId',): 'user_id_2', ('user', 'id'): 'user_id_3'}

5. A collection has no digits: they are spelled. It has at most 100 characters; of a longer name
   the rest becomes ten letters of a digest, so that two long names stay two.

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

_WORD: Final = re.compile(r"[A-Z0-9]+[a-z0-9]*|[a-z0-9]+")
_COLLECTION: Final = re.compile(r"[a-z]+(?:_[a-z]+)*")  # a warehouse folds __ to _
_DIGITS: Final = {
    digit: f"_{word}_"
    for digit, word in zip(
        string.digits,
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
        strict=True,
    )
}
_DIGEST_LETTERS: Final = 10  # 26 ** 10 names: two of a warehouse's long ones do not meet


def to_snake_case(text: str) -> str:
    """Return Segment's snake case of a text; empty when it has no ASCII letter or digit."""
    return "_".join(_WORD.findall(text)).lower()


def format_path(path: Iterable[str]) -> str:
    """Return a path as messages have it: whole, and possible to write wherever they go."""
    return ".".join(path).encode(errors="backslashreplace").decode()


def to_property_name(text: str) -> str:
    """Return the name of one property, or of one level of a path; empty when there is none."""
    if text.isascii():
        return to_snake_case(text)
    decomposed = unicodedata.normalize("NFKD", text)
    unaccented = "".join(char for char in decomposed if not unicodedata.combining(char))
    return to_snake_case(unaccented) or to_snake_case(anyascii.anyascii(text))


def to_path_name(path: PropertyPath) -> str:
    """Return the name of a path through nested objects; empty when a level of it has none."""
    levels = [to_property_name(level) for level in path]
    return "_".join(levels) if all(levels) else ""


def assign_unique_names(
    paths: Iterable[PropertyPath], taken: Container[str] = ()
) -> dict[PropertyPath, str]:
    """Give each path a name of its own.

    Args:
        paths: Different paths, in the schema's order, each with a name.
        taken: Names that are given already.

    Returns:
        Path to name: first the paths that keep theirs, then those that had to give way.
    """
    wanted = {path: to_path_name(path) for path in paths}
    # A path that is its own name comes first, the fewest levels before the rest; sorting is
    # stable, so that the schema's order decides among equals.
    ranked = sorted(wanted, key=lambda path: ("_".join(path) != wanted[path], len(path)))
    names: dict[PropertyPath, str] = {}
    given: set[str] = set()
    for path in ranked:
        if wanted[path] not in given and wanted[path] not in taken:
            names[path] = wanted[path]
            given.add(wanted[path])
    for path in [path for path in wanted if path not in names]:
        number = 2
        while (name := f"{wanted[path]}_{number}") in given or name in taken:
            number += 1
        names[path] = name
        given.add(name)
    return names


def to_collection_name(stream: str, *, pluralize: bool = False) -> str:
    """Return the collection of a stream.

    Args:
        stream: The stream's name.
        pluralize: Whether the last word is put into its English plural (`order` → `orders`).
            A name that ends in a digit stays as it is.

    Returns:
        At most `limits.MAX_COLLECTION_CHARACTERS` lowercase letters and underscores, none first or
        last; empty when the name leaves nothing.
    """
    name = to_property_name(stream)
    if pluralize and name and name[-1] not in string.digits:
        name = inflection.pluralize(name)
    spelled = "".join(_DIGITS.get(char, char) for char in name)
    words = "_".join(word for word in spelled.split("_") if word)
    if len(words) <= limits.MAX_COLLECTION_CHARACTERS:
        return words
    kept = words[: limits.MAX_COLLECTION_CHARACTERS - _DIGEST_LETTERS - 1].rstrip("_")
    return f"{kept}_{_digest_letters(words)}"


def is_valid_collection(name: str) -> bool:
    """Return whether Segment takes a collection of this name."""
    return len(name) <= limits.MAX_COLLECTION_CHARACTERS and bool(_COLLECTION.fullmatch(name))


def _digest_letters(text: str) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(_DIGEST_LETTERS):
        number, index = divmod(number, len(string.ascii_lowercase))
        letters.append(string.ascii_lowercase[index])
    return "".join(letters)


class CollectionResolver:
    """Which stream goes to which collection; two meet in one only at the user's word."""

    def __init__(
        self, given: Mapping[str, str], *, pluralize: bool, log: Callable[[str], object]
    ) -> None:
        """Begin without a stream.

        Args:
            given: Stream to collection, as the user wants it.
            pluralize: Whether other names are put into their plural.
            log: Takes a message, once for each name that is changed beyond snake case.
        """
        self._given = given
        self._pluralize = pluralize
        self._log = log
        self._streams: dict[str, str] = {}

    def resolve(self, stream: str) -> str:
        """Return the collection of a stream.

        Raises:
            UnmappableStreamError: There is none, or another stream has it.
        """
        if stream in self._given:
            collection = self._given[stream]
        else:
            collection = to_collection_name(stream, pluralize=self._pluralize)
        if not collection:
            msg = (
                f"Stream '{stream}' has no letter or digit in its name, so Segment has no name for "
                "it. Name its collection in collection_map."
            )
            raise UnmappableStreamError(msg)
        if collection not in self._streams and collection not in (
            self._given.get(stream),
            to_snake_case(stream),
        ):
            self._log(f"Stream '{stream}' goes to the collection {collection}.")
        first = self._streams.setdefault(collection, stream)
        if first != stream and not {first, stream} <= self._given.keys():
            msg = (
                f"Streams '{first}' and '{stream}' would both go to the collection {collection}. "
                "Name a collection for each in collection_map, or the same for both to merge them."
            )
            raise UnmappableStreamError(msg)
        return collection
