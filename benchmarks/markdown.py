"""The parts of Markdown tables."""

from __future__ import annotations

import math


def row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def head(*cells: str) -> list[str]:
    """The first two lines of a table: the names of its columns, and the line below them."""
    return [row(*cells), "|" + "---|" * len(cells)]


def number(value: float | None, digits: int) -> str:
    """A number with as many digits behind the point, or a dash if there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A difference in percent with its sign, or a dash if there is none."""
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")
