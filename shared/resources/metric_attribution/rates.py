"""The rate of a metric: events from a source for each recommendation by it, with a confidence interval."""

from __future__ import annotations

import math

#: The 97.5 % quantile of the normal distribution: 95 % lie between its negative and itself.
_Z = 1.959963984540054


def compute_interval(events: int, recommendations: int) -> tuple[float, float] | None:
    """Return Wilson's 95 % interval of a proportion (Wilson 1927, equation 3); None where it is none.

    Several events may name one recommendation: with more events than recommendations the rate is no proportion.
    """
    if not 0 <= events <= recommendations or recommendations == 0:
        return None
    share, z2 = events / recommendations, _Z * _Z / recommendations
    center = share + z2 / 2
    margin = _Z * math.sqrt(share * (1 - share) / recommendations + z2 / (4 * recommendations))
    # Rounding must not move an end past the share itself.
    lower, upper = (center - margin) / (1 + z2), (center + margin) / (1 + z2)
    return min(max(lower, 0.0), share), max(min(upper, 1.0), share)
