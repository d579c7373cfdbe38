"""Runs the scenarios: every contestant once a round, the rounds in alternating order, and keeps each figure."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.contestants import BY_NAME, Contestant

Figures = dict[str, float]
Run = Callable[[Contestant, bool], Awaitable[Figures]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a figure of Quorate must be, as a multiple of the same figure of a peer in the same round.

    `against` may name several peers: then the best of them counts, in each round. Against nobody it is the figure
    itself that is bounded, in every round.
    """

    figure: str
    against: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None

    def holds(self, ratio: float) -> bool:
        """Whether a ratio, or a figure against nobody, is within the bound."""
        return (self.least is None or ratio >= self.least) and (self.most is None or ratio <= self.most)

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table: what is run, with whom, and what must hold of it."""

    name: str
    title: str
    run: Run
    contestants: tuple[str, ...]
    bounds: tuple[Bound, ...] = ()
    is_plotted_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of one contestant in one round; none where it failed, and why."""

    scenario: str
    contestant: str
    round: int
    figures: Figures
    failure: str = ""


async def run_rounds(
    scenario: Scenario, rounds: int, names: tuple[str, ...], *, is_short: bool, tell: Callable[[str], None]
) -> list[Measurement]:
    """Measure the contestants of a scenario side by side."""
    made = list[Measurement]()
    order = [name for name in scenario.contestants if name in names and BY_NAME[name].is_installed()]
    for number in range(rounds):
        for name in order if number % 2 == 0 else order[::-1]:
            made.append(await _measure(scenario, name, number, is_short=is_short))
            tell(f"{scenario.name} {number} {name}: {summary(made[-1])}")
    return made


async def _measure(scenario: Scenario, name: str, number: int, *, is_short: bool) -> Measurement:
    try:
        figures, failure = await scenario.run(BY_NAME[name], is_short), ""
    except Exception as error:  # noqa: BLE001 - a peer that fails is a result, and the others go on
        figures, failure = {}, f"{type(error).__name__}: {error}"
    return Measurement(scenario=scenario.name, contestant=name, round=number, figures=figures, failure=failure)


def summary(measurement: Measurement) -> str:
    """Return the figures in one line."""
    figures = ", ".join(f"{name} {value:,.4g}" for name, value in measurement.figures.items())
    return figures or measurement.failure


def keep(file: Path, facts: dict[str, str], made: list[Measurement]) -> None:
    """Add measurements to those of the day; a contestant that ran a scenario again replaces what it was."""
    again = {(each.scenario, each.contestant) for each in made}
    kept = [each for each in load(file) if (each.scenario, each.contestant) not in again]
    text = json.dumps({"facts": facts, "measurements": [asdict(each) for each in kept + made]}, indent=1)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text + "\n", "utf-8")


def load(file: Path) -> list[Measurement]:
    """Return what was measured on a day."""
    with contextlib.suppress(FileNotFoundError):
        return [Measurement(**each) for each in json.loads(file.read_text("utf-8"))["measurements"]]
    return []


def today() -> str:
    return time.strftime("%Y-%m-%d")
