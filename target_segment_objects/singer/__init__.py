"""The Singer side: reading messages, BATCH files, the dead-letter file."""
