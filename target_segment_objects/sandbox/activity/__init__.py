"""What the sandbox has done since it started: requests and sessions, bounded in memory.

The API and its middleware write it; the page and the log on the terminal read it. It has no record
content but what the reason of a rejection says. All classes are thread-safe.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from target_segment_objects.sandbox.activity.requests import RequestLog
from target_segment_objects.sandbox.activity.sessions import SessionLog


@dataclass(frozen=True, slots=True)
class Activity:
    """What has happened since the start."""

    requests: RequestLog = field(default_factory=RequestLog)
    sessions: SessionLog = field(default_factory=SessionLog)
