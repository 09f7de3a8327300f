"""Records to objects: names, ids, types, validation. Pure: no I/O, no threads."""
