"""The exit codes of the commands. Imports nothing, so that a command knows them from its start."""

from __future__ import annotations

USAGE_ERROR = 2
"""For a wrong option or setting: another attempt would end in the same way."""

SIGNAL_BASE = 128
"""Plus the number of the signal that stopped the process, as shells report it."""

MEANINGS = {
    0: "success: everything is in Segment or the dead-letter file, or the check passed",
    1: "failure: the last lines of the log say why",
    USAGE_ERROR: "usage error: an option or a setting; nothing was read or sent",
    129: "stopped by SIGHUP (the terminal was closed)",
    130: "stopped by SIGINT (Ctrl-C)",
    143: "stopped by SIGTERM",
}
"""What the manual says of each."""
