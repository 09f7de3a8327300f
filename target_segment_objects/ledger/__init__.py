"""The ledger: which objects Segment has accepted, so that a run sends only what changed.

It is a stage of its own between the sinks and delivery, and its memory is one SQLite file. Nothing
of this package is imported by a run without `ledger_path`. Whatever uses the file raises a
`LedgerError` where it cannot be read or written.
"""
