"""Benchmarks of the target: against other targets, against a lower bound, and end to end.

Install the extra `bench`, then run `python -m benchmarks` from the root of the repository.
docs/benchmarks.md says what the figures mean, docs/benchmark-results.md has those of one run.

Rule for all modules here: of the target, only the client is replaced. What is measured is what
users run.
"""
