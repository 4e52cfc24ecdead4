"""What a throughput costs: images per dollar, and the time and money to index a collection."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclip.errors import InvalidArgument


@dataclass(frozen=True)
class Cost:
    """Of embedding some items on machines of one kind, all busy to the end.

    Attributes:
        items: how many.
        hours: how long it takes.
        dollars: for all machines together; the number of machines does not change it.
        items_per_dollar: for one machine as for many.
    """

    items: float
    hours: float
    dollars: float
    items_per_dollar: float


def frames(hours: float, frames_per_second: float) -> float:
    """Images in so many hours of video of which so many frames a second are embedded."""
    _positive(hours=hours, frames_per_second=frames_per_second)
    return hours * 3600 * frames_per_second


def cost(items: float, *, rate: float, price: float, machines: int = 1) -> Cost:
    """What it costs to embed `items`.

    Args:
        items: images or texts.
        rate: items a second on one machine.
        price: of one machine, in dollars an hour.
        machines: that share the work.

    Raises:
        InvalidArgument: one of them is not positive.
    """
    _positive(items=items, rate=rate, price=price, machines=machines)
    hours = items / rate / 3600
    return Cost(
        items=items,
        hours=hours / machines,
        dollars=hours * price,
        items_per_dollar=rate * 3600 / price,
    )


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InvalidArgument(f"{name} must be positive, not {value:g}")
