"""The Objects Bulk API over HTTP: sessions, uploads, and the rules for requests."""
