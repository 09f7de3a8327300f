"""The command line: options, `--about`, `--check` and `--dry-run`."""
