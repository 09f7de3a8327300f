"""What a user does with a ledger between runs: look at it, and have it forget."""
