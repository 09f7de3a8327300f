"""What is gone at the source: the evidence of a run, the decision, and what is marked."""
