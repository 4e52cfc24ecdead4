"""Loads: requests a second over a day, and the moments at which single requests arrive."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tritonclip.errors import InvalidArgument

HOURS = 24


def day(peak: float, trough: float) -> tuple[float, ...]:
    """Requests a second in each hour of a day that is quietest at 4 and busiest at 16 o'clock.

    Raises:
        InvalidArgument: they are not 0 < trough <= peak.
    """
    if not 0 < trough <= peak:
        raise InvalidArgument(f"the trough must lie between 0 and the peak, not {trough:g}")
    middle, swing = (peak + trough) / 2, (peak - trough) / 2
    return tuple(
        middle - swing * math.cos(2 * math.pi * (hour - 4) / HOURS) for hour in range(HOURS)
    )


def read_day(file: Path) -> tuple[float, ...]:
    """A day from a file of 24 lines `HOUR,REQUESTS A SECOND`; a first line of names may precede.

    Raises:
        InvalidArgument: it does not have that.
    """
    try:
        lines = [line for line in csv.reader(file.read_text(encoding="utf-8").splitlines()) if line]
        if lines and not lines[0][0].strip().isdigit():
            del lines[0]
        rates = {int(hour): float(rate) for hour, rate in lines}
    except OSError as error:
        raise InvalidArgument(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"{file}: each line has to be HOUR,REQUESTS ({error})") from error
    if sorted(rates) != list(range(HOURS)) or min(rates.values()) < 0:
        raise InvalidArgument(
            f"{file} has to give a rate, not negative, for each hour from 0 to 23"
        )
    return tuple(rates[hour] for hour in range(HOURS))


def arrivals(
    rates: npt.ArrayLike, step: float, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """When requests arrive: a Poisson process whose rate is given for each `step` seconds."""
    each = np.asarray(rates, dtype=np.float64)
    counts = random.poisson(each * step)
    begins = np.repeat(np.arange(len(each)) * step, counts)
    return np.sort(begins + random.uniform(0, step, counts.sum()))
