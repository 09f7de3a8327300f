"""Run a command and measure its time and memory.

`python -IS benchmarks/measure.py RESULT COMMAND...` writes a JSON object to the file RESULT. On
Linux the peak memory of a process includes that of its parent at the start, so the parent must be
small: this script imports as little as possible.
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
with open(RESULT, "w", encoding="utf-8") as file:  # noqa: PTH123 - importing pathlib takes memory
    json.dump(measured, file)
