"""Shares and how sure of them one can be: Wilson's interval for a binomial proportion.

E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927. It inverts
the score test, so that it stays within 0 and 1 and is right for few examples and for shares near
1, where the usual one of mean and standard error is not.
"""

from __future__ import annotations

import math

from tritonclip_search.policy.rules import Interval

Z = 1.959964
"""Of the standard normal distribution, for intervals of 95 %."""


def wilson(hits: float, trials: float) -> Interval:
    """The share `hits / trials` within its 95 % interval; from 0 to 1 where nothing was tried."""
    if not trials:
        return 0.0, math.nan, 1.0
    share = hits / trials
    centre = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z * math.sqrt(share * (1 - share) / trials + (Z / (2 * trials)) ** 2)
    half /= 1 + Z**2 / trials
    return max(0.0, centre - half), share, min(1.0, centre + half)


def trials_needed(share: float, goal: float) -> float:
    """Trials of which such a share has to hit before their interval lies above `goal`.

    From Wilson's test, share - goal >= z sqrt(goal (1 - goal) / n); infinite if it is not above.
    """
    if share <= goal:
        return math.inf
    return math.ceil(Z**2 * goal * (1 - goal) / (share - goal) ** 2)
