"""The command `segment-objects-ledger`."""
