"""The declared properties of a record as a tree: the objects that are flattened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping


class DeclaredObject(msgspec.Struct, frozen=True):
    """An object that is flattened; the record itself is the outermost.

    Attributes:
        path: The names from the record down to the object.
        children: What it has.
    """

    path: PropertyPath
    children: dict[str, PropertyMapping | DeclaredObject] = {}


def build_tree(properties: Iterable[PropertyMapping]) -> DeclaredObject:
    """Return the record with its declared properties, each below its object."""
    root = DeclaredObject(())
    objects: dict[PropertyPath, DeclaredObject] = {(): root}
    for prop in properties:
        parent = root
        for depth in range(1, len(prop.path)):
            path = prop.path[:depth]
            if path not in objects:
                objects[path] = parent.children[path[-1]] = DeclaredObject(path)
            parent = objects[path]
        parent.children[prop.path[-1]] = prop
    return root
