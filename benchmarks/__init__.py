"""How fast the target is: against others, against the floor, and end to end.

Run from the repository's root, with the extra `bench` installed: `python -m benchmarks`. What the
figures mean is in docs/benchmarks.md, which shows those of one run.

The rule for all modules here: nothing of the target is changed but the client, so that what is
measured is what users run.
"""
