"""Runs a command and says what it took: a small process between the benchmark and what it measures.

`python -IS benchmarks/measure.py RESULT COMMAND...` leaves a JSON object in the file RESULT. Linux
counts to a process's peak memory what its parent had when it was started, so the parent must be
small: this one imports next to nothing.
"""

import json
import os
import sys
import time

RESULT, *COMMAND = sys.argv[1:]

began = time.perf_counter()
pid = os.posix_spawn(COMMAND[0], COMMAND, os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - began
measured = {
    "seconds": seconds,
    "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    "exit_code": os.waitstatus_to_exitcode(status),
}
with open(RESULT, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be imported
    json.dump(measured, file)
