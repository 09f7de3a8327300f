"""The warehouse: a DuckDB file that objects are loaded into."""
