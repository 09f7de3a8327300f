"""What a run shares, where its results go, and what its messages say of deleted rows."""
