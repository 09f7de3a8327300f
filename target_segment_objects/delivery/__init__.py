"""Objects to bulk sessions: batch files on disk, their order, and when a STATE may go out."""
