"""The commands and the longer texts of the definition for Meltano and its Hub."""

from __future__ import annotations

from typing import Final

COMMANDS: Final = {
    **{
        f"ledger-{command}": {
            "args": f"{command} $TARGET_SEGMENT_OBJECTS_LEDGER_PATH",
            "description": description,
            "executable": "segment-objects-ledger",
        }
        for command, description in {
            "adopt-key": "Accept the new write key of the same source",
            "export": "Write the ids and digests in the ledger as JSON lines",
            "forget": "Forget what the ledger knows of one collection, or of all",
            "resend": "Have the next run send all objects of one collection, or of all",
            "show": "Show what the ledger knows, and how much is due to be sent again",
        }.items()
    },
    "sandbox-show": {
        "args": "show $TARGET_SEGMENT_OBJECTS_SANDBOX",
        "description": "Show what is in the sandbox's warehouse",
        "executable": "segment-objects-sandbox",
    },
}
"""Commands of `meltano invoke`, and the keys of each, in alphabetical order."""

SETTINGS_PREAMBLE: Final = """\
Only `write_key` is required: the write key of the Segment source that receives the objects.

Streams become collections, and properties get names by Segment's naming rules. The key properties
become the object's id. Stream maps are applied first: use them to change names, keys and values.

Meltano reads a dot in a name as a nested setting. In `collection_map` and `stream_maps`, write the
stream `public.orders` as `public\\.orders`.
"""

NEXT_STEPS: Final = """\
You can try the loader without a Segment account. The sandbox is a local copy of the API, with a
DuckDB file as the warehouse. Install the loader with its extra `sandbox`:

```yaml
pip_url: "PIP_URL"
```

Then set the file:

```bash
export TARGET_SEGMENT_OBJECTS_SANDBOX=warehouse.duckdb
meltano run tap-x target-segment-objects
```

The log shows what was loaded, and what a warehouse would have lost.
"""

USAGE: Final = """\
### Before the first run

- `meltano config test target-segment-objects` sends one object, to the collection
  `meltano_test_stream`. Segment's API has no delete.
- STATE is saved once Segment has accepted the records it covers. If a run fails, the next one
  completes it. Rows that are sent twice are merged by id.
- Segment allows 20 concurrent requests per write key, over all machines. If several jobs run at the
  same time, their `max_parallel_sessions` should add up to less.
- A record that cannot be sent ends the run, unless `invalid_records` is `dead_letter`.

### Ledger

With `ledger_path`, a run sends only new and changed objects. Show the ledger, or send one
collection again:

```bash
meltano invoke target-segment-objects:ledger-show
meltano invoke target-segment-objects:ledger-resend users
```

### Troubleshooting

For more detail, use `meltano --log-level=debug run …`. If you ask Segment's support, send the
`sync_id` of the session: it is in the log.
"""
