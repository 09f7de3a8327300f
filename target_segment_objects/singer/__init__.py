"""Singer: reading messages and BATCH files, and the dead-letter file."""
