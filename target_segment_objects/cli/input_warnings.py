"""Warnings about the input of a run: it is a terminal, it was empty, or it lacks streams."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

WAITING: Final = "Waiting for Singer messages on standard input, which is a terminal."
EMPTY: Final = "The input was empty. Check whether the tap has crashed."


def missing_stream_warnings(
    collection_map: Collection[str],
    stream_maps: Mapping[str, Any],
    full_table_streams: Collection[str] = (),
    *,
    sources: Collection[str],
    streams: Collection[str],
) -> Iterator[str]:
    """Yield a warning for each stream in the settings that was not in the input.

    Args:
        collection_map: The streams in `collection_map`.
        stream_maps: The setting `stream_maps`.
        full_table_streams: The setting of this name, which has names before or after stream maps.
        sources: The streams of the input.
        streams: The streams after stream maps.
    """
    for stream in collection_map:
        if stream not in streams:
            yield _format_warning("collection_map", stream, streams)
    names = {*sources, *streams}
    for stream in full_table_streams:
        if stream not in names:
            yield _format_warning("full_table_streams", stream, names)
    for name, definition in stream_maps.items():
        if name.startswith("__"):  # `__else__`
            continue
        source = definition.get("__source__", name) if isinstance(definition, dict) else name
        if not fnmatch.filter(sources, source):
            yield _format_warning("stream_maps", source, sources)


def _format_warning(setting: str, stream: str, known: Collection[str]) -> str:
    import difflib  # noqa: PLC0415 - not at the start, which every load waits for

    matches = difflib.get_close_matches(stream, known, n=1)
    hint = f" Did you mean '{matches[0]}'?" if matches else ""
    return f"{setting} names the stream '{stream}', which was not in the input.{hint}"
