"""Segment's Objects Bulk API: the HTTP client and the bulk session. Knows nothing of Singer."""
