"""How often an unchanged object is sent again, so that none waits longer than the user allows.

An object is due on each day that is congruent to its number, modulo a period: so an equal part of
all objects is due each day. What is due is sent by the next run, so an object waits as long as the
period, and up to the time between two runs longer. The period is shorter by that time, which the
days of the last runs show.

Another period gives each object other days, and up to half of the objects are sent early once. So
one that is only a little shorter than it could be is kept.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT_DAYS: Final = 15
"""Days with a run that are looked at: with runs from Monday to Friday, two weekends or more."""

_KEPT_SHARE: Final = 0.8


def choose_period(resend_after_days: int, run_days: Sequence[int], *, previous: int | None) -> int:
    """Return the period, in days.

    Args:
        resend_after_days: The setting: so many days an object may wait; 0 for ever.
        run_days: The last days with a run, this one's included, each once, in order.
        previous: The period of the last run, if it had the same setting.
    """
    if resend_after_days == 0:
        return 0
    gaps = sorted((later - earlier for earlier, later in pairwise(run_days)), reverse=True)
    # One long gap is no rule: runs may have been paused.
    expected = (gaps[1:] or gaps or [1])[0]
    longest = max(1, resend_after_days - expected + 1)
    if previous is not None and _KEPT_SHARE * longest <= previous <= longest:
        return previous
    return longest
