"""Singer target that loads any tap's records into Segment's Objects Bulk API."""
