"""What warehouses do with the names that are sent. Only warnings and the dry run depend on it."""
