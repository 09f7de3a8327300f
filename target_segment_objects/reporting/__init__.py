"""What a run reports: progress, the summary and METRIC lines."""
