"""A plot as SVG: lines over a logarithmic scale, small enough to be read in a text editor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 640, 360, 56
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")

Points = Sequence[tuple[float, float]]


def plot(title: str, across: str, up: str, lines: dict[str, Points]) -> str:
    """Draw each line's points over logarithmic axes."""
    horizontal = _Axis([x for points in lines.values() for x, _ in points], MARGIN, WIDTH - MARGIN // 2)
    vertical = _Axis([y for points in lines.values() for _, y in points], HEIGHT - MARGIN, MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 20, title, size=15),
        _text(WIDTH / 2, HEIGHT - 10, across),
        _text(16, HEIGHT / 2, up, turn=True),
    ]
    for value in horizontal.ticks:
        x = horizontal.at(value)
        parts += [_rule(x, MARGIN, x, HEIGHT - MARGIN), _text(x, HEIGHT - MARGIN + 16, _short(value))]
    for value in vertical.ticks:
        y = vertical.at(value)
        parts += [_rule(MARGIN, y, WIDTH - MARGIN // 2, y), _text(MARGIN - 22, y + 4, _short(value))]
    for number, (name, points) in enumerate(lines.items()):
        places = [(horizontal.at(x), vertical.at(y)) for x, y in sorted(points)]
        parts += _line(name, places, COLOURS[number % len(COLOURS)], number)
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """Places values of many sizes between two pixels."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(math.ceil(math.log10(max(values))), self._low + 1)
        self._first, self._last = first, last

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]

    def at(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._first + share * (self._last - self._first)


def _line(name: str, places: list[tuple[float, float]], colour: str, number: int) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    place = f'x="{MARGIN + 8}" y="{MARGIN + 14 + 16 * number}" font-size="12"'
    legend = f'<text {place} fill="{colour}">{escape(name)}</text>'
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots, legend]


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d0d7de"/>'


def _text(x: float, y: float, words: str, *, size: int = 12, turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.0f} {y:.0f})"' if turn else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="middle"{turned}>{escape(words)}</text>'


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
