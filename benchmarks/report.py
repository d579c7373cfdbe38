"""The results of a day: what was measured, the ratios within each round against their bounds, and the plots."""

from __future__ import annotations

import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.contestants import ALL, BY_NAME
from benchmarks.plots import Points, plot
from benchmarks.programme import BY_NAME as SCENARIOS
from benchmarks.programme import GROWTH
from benchmarks.runner import Bound, Measurement, Scenario

CONDITIONS = """\
Server on one core, load on the other; each contestant once a round, in alternating order; medians of the rounds.
A ratio is taken within a round and its median is shown.
Every contestant has its default settings; Hocuspocus then stores 2 s after the last change, at most 10 s after
the first.
Quorate commits to SQLite before anybody is told, as always.
One default of Quorate is lifted, the bound of 500 updates a second for a connection: the peers have none.
The updates were made by Yjs beforehand and are the same bytes for all.
At the end of each run every client's state was decoded and compared with what was written.
Without a peer a bound is one of the figure itself, and the worst round counts.
A writer as fast as they can has 256 updates under way, each of 20 writers 16, until the first is acknowledged.
"""


def facts() -> dict[str, str]:
    """Return what the figures depend on: the machine and the versions."""
    versions = {contestant.package: contestant.version() for contestant in ALL if contestant.is_installed()}
    about = {
        "machine": f"{platform.machine()}, {_processor()}, two virtual cores",
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "pycrdt": version("pycrdt"),
    }
    return about | versions


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


def markdown(day: str, known: dict[str, str], made: Sequence[Measurement]) -> str:
    """Return the page of a day."""
    lines = [f"# Measured {day}", "", ", ".join(f"{name} {value}" for name, value in known.items()) + ".", ""]
    lines += [CONDITIONS, "## Against the bounds", "", *verdicts(made), ""]
    lines += ["## All figures", "", *figures(made), ""]
    return "\n".join(lines)


def verdicts(made: Sequence[Measurement]) -> list[str]:
    """Return the table of the ratios that are bounded."""
    lines = [
        "| scenario | figure | Quorate | against | theirs | ratio | bound | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    told = (_verdict(scenario, bound, made) for scenario in _measured(made) for bound in scenario.bounds)
    return lines + [line for line in told if line is not None]


def _verdict(scenario: Scenario, bound: Bound, made: Sequence[Measurement]) -> str | None:
    return _compared(scenario, bound, made) if bound.against else _absolute(scenario, bound, made)


def _absolute(scenario: Scenario, bound: Bound, made: Sequence[Measurement]) -> str | None:
    values = [
        value
        for values in _by_round(made, scenario, bound.figure).values()
        for name, value in values.items()
        if BY_NAME[name].is_quorate
    ]
    if not values:
        return None
    worst = min(values) if bound.least is not None else max(values)
    return _line(scenario, bound, _number(worst), "", "", "", holds=bound.holds(worst))


def _compared(scenario: Scenario, bound: Bound, made: Sequence[Measurement]) -> str | None:
    own = _own(scenario, bound)
    peers = [name for name in bound.against if not BY_NAME[name].is_quorate]
    rounds = _by_round(made, scenario, bound.figure)
    pairs = list[tuple[float, float, str]]()
    for values in rounds.values():
        found = [(values[name], name) for name in peers if name in values]
        if own in values and found:
            theirs, name = max(found) if bound.least is not None else min(found)
            pairs.append((values[own], theirs, name))
    if not pairs:
        return None
    ratio = statistics.median(mine / theirs for mine, theirs, _ in pairs)
    against = statistics.mode(name for _, _, name in pairs)
    own_median, their_median = statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)
    return _line(
        scenario, bound, _number(own_median), BY_NAME[against].title, _number(their_median), f"{ratio:.2f}",
        holds=bound.holds(ratio),
    )  # fmt: skip


def _line(scenario: Scenario, bound: Bound, *cells: str, holds: bool) -> str:
    verdict = "holds" if holds else "**misses**"
    return f"| {' | '.join((scenario.title, bound.figure, *cells, str(bound), verdict))} |"


def _own(scenario: Scenario, bound: Bound) -> str:
    """Return Quorate over the dialect of the peer, where it is one; else over y-websocket."""
    dialects = {BY_NAME[name].dialect.name for name in bound.against if not BY_NAME[name].is_quorate}
    own = "quorate-h" if dialects == {"hocuspocus"} else "quorate-y"
    assert own in scenario.contestants, (scenario.name, own)
    return own


def _by_round(made: Iterable[Measurement], scenario: Scenario, figure: str) -> dict[int, dict[str, float]]:
    rounds: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for each in made:
        if each.scenario == scenario.name and figure in each.figures:
            rounds[each.round][each.contestant] = each.figures[figure]
    return rounds


def figures(made: Sequence[Measurement]) -> list[str]:
    """Return every scenario's table: a row for each contestant, medians."""
    lines = list[str]()
    for scenario in _measured(made):
        mine = [each for each in made if each.scenario == scenario.name]
        names = list(dict.fromkeys(name for each in mine for name in each.figures))
        lines += [f"### {scenario.title}", ""]
        lines += ["| | rounds | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
        lines += [_row(name, names, mine) for name in scenario.contestants if any(e.contestant == name for e in mine)]
        lines.append("")
    return lines


def _row(contestant: str, names: Sequence[str], made: Sequence[Measurement]) -> str:
    mine = [each for each in made if each.contestant == contestant]
    cells = [_median(mine, name) for name in names]
    failures = {each.failure for each in mine if each.failure}
    told = f" (failed in {sum(bool(e.failure) for e in mine)} of {len(mine)}: {min(failures)})" if failures else ""
    return f"| {BY_NAME[contestant].title}{told} | " + " | ".join([str(len(mine)), *cells]) + " |"


def _median(made: Iterable[Measurement], figure: str) -> str:
    values = [each.figures[figure] for each in made if figure in each.figures]
    return _number(statistics.median(values)) if values else "-"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _measured(made: Iterable[Measurement]) -> list[Scenario]:
    names = {each.scenario for each in made}
    return [scenario for name, scenario in SCENARIOS.items() if name in names]


def plots(made: Sequence[Measurement]) -> dict[str, str]:
    """Return an SVG for each thing that the cost of an update may grow with."""
    drawn: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for scenario in GROWTH:
        values = [each.figures["µs an update"] for each in made if each.scenario == scenario.name and each.figures]
        if values:
            size = float(scenario.name.rpartition("-")[2])
            drawn[scenario.is_plotted_by].append((size, statistics.median(values)))
    return {
        across.split(",")[0].replace(" ", "-"): _plotted(across, points)
        for across, points in drawn.items()
        if len(points) > 1
    }


def _plotted(across: str, points: Points) -> str:
    return plot(f"What an update costs, by {across}", across, "µs of the server's core", {"Quorate": points})
