"""The benchmarks themselves: each scenario runs, and none lets a server pass that lost something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from itertools import cycle
from typing import Any

import pytest
from pycrdt import Doc, Text

from benchmarks import material
from benchmarks.checks import Diverged, check_convergence
from benchmarks.clients import Client
from benchmarks.contestants import BY_NAME, Contestant
from benchmarks.plots import plot
from benchmarks.programme import SCENARIOS
from benchmarks.report import verdicts
from benchmarks.runner import Bound, Measurement, Scenario, run_rounds
from benchmarks.scenarios import crash, growth, loading, many_documents, presence, soak, typing_loads
from benchmarks.stage import Typist, stage
from quorate_protocol.varints import write_var_uint

RUNS: dict[str, Callable[[Contestant], Awaitable[dict[str, float]]]] = {
    "fan-out": lambda quorate: typing_loads.fan_out(quorate, 3, 0.2),
    "steady": lambda quorate: typing_loads.steady(quorate, 2, 0.3),
    "writers": lambda quorate: typing_loads.many_writers(quorate, 3, 0.2),
    "documents": lambda quorate: many_documents.trickle(quorate, 4, 1.0),
    "idle": lambda quorate: many_documents.idle(quorate, 8, 4),
    "cold": lambda quorate: loading.cold(quorate, 2),
    "storm": lambda quorate: loading.storm(quorate, 3, holds=False),
    "storm of those who hold it": lambda quorate: loading.storm(quorate, 3, holds=True),
    "presence": lambda quorate: presence.storm(quorate, 4, 0.5),
    "crash": lambda quorate: crash.kill_repeatedly(quorate, 1),
    "size": lambda quorate: growth.with_size(quorate, 1000, 0.2),
    "soak": lambda quorate: soak.mixed(quorate, 1.0),
}


@pytest.fixture(autouse=True)
def typed_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the updates made here: the real Yjs is installed for a measurement only."""
    monkeypatch.setattr(material, "typing", typed)
    monkeypatch.setattr(material, "paper", lambda: pasted(5_000))
    monkeypatch.setattr(material, "pasted", pasted)
    monkeypatch.setattr(loading, "STORE_SECONDS", 0.0)
    monkeypatch.setattr(typing_loads, "WARM_SECONDS", 0.1)
    monkeypatch.setattr(growth, "WARM_SECONDS", 0.1)
    yield
    for stored in loading.stored.values():
        stored.cleanup()
    loading.stored.clear()


@cache
def typed(client: int, count: int) -> tuple[bytes, ...]:
    """What Yjs says of each letter that somebody types behind the one before."""
    begin = b"\x01\x01" + write_var_uint(client)
    letters = (
        begin + write_var_uint(at) + b"\x84" + write_var_uint(client) + write_var_uint(at - 1) + b"\x01x\x00"
        for at in range(1, min(count, 500_000))
    )
    return (begin + b"\x00\x04\x01\x04text\x01x\x00", *letters)


def pasted(size_bytes: int) -> bytes:
    doc: Doc[Any] = Doc(client_id=1)
    doc.get("text", type=Text).insert(0, "p" * size_bytes)
    return doc.get_update()


SLOW = {"steady", "documents", "idle", "storm of those who hold it", "size", "soak"}
"""What starts a server of its own and takes seconds to say little more than the others do."""


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        pytest.param(name, dialect, marks=[pytest.mark.soak] if name in SLOW else [])
        for name, dialect in zip(RUNS, cycle(["quorate-h", "quorate-y"]), strict=False)
    ],
)
async def test_a_scenario_runs_and_everybody_has_everything(name: str, dialect: str) -> None:
    figures = await RUNS[name](BY_NAME[dialect])

    assert figures
    assert all(value == value for value in figures.values()), figures  # noqa: PLR0124 - not a number


async def test_a_client_that_lacks_a_letter_is_found() -> None:
    async with stage(BY_NAME["quorate-y"]) as on:
        reader, writer = await on.crowd(["a", "a"])
        typist = Typist(writer, 7, typed(7, 50))
        typist.write(50)
        await typist.acknowledged()
        await on.swarm.settle([reader])
        check_convergence([reader, writer], "x" * 50)

        _lose_the_last_message(reader)

        with pytest.raises(Diverged):
            check_convergence([reader, writer], "x" * 50)


def _lose_the_last_message(client: Client) -> None:
    client.chunks.pop()


async def test_a_contestant_that_fails_is_told_and_the_others_go_on() -> None:
    async def run(contestant: Contestant, is_short: bool) -> dict[str, float]:  # noqa: FBT001
        if contestant.name == "pycrdt":
            raise Diverged("a", 2, 1)
        return {"updates/s": 1.0}

    scenario = Scenario(name="one", title="one", run=run, contestants=("pycrdt", "quorate-y"))

    made = await run_rounds(scenario, 2, tuple(BY_NAME), is_short=True, tell=lambda _line: None)

    assert [(each.contestant, bool(each.failure)) for each in made] == [
        ("pycrdt", True), ("quorate-y", False), ("quorate-y", False), ("pycrdt", True),
    ]  # fmt: skip


def test_ratios_are_taken_within_rounds() -> None:
    scenario = next(each for each in SCENARIOS if each.name == "writers")
    assert scenario.bounds[0] == Bound(figure="updates/s", against=("hocuspocus-sqlite",), least=10.0)
    made = [
        Measurement(scenario="writers", contestant=name, round=number, figures={"updates/s": value})
        for number, pair in enumerate([(100.0, 10.0), (300.0, 20.0), (11.0, 1.0)])
        for name, value in zip(("quorate-h", "hocuspocus-sqlite"), pair, strict=True)
    ]

    (line,) = [line for line in verdicts(made) if "updates/s" in line]

    assert "| 11.00 | ≥ 10 | holds |" in line


def test_a_bound_against_nobody_is_of_the_worst_round() -> None:
    made = [
        Measurement(scenario="crash", contestant=name, round=number, figures={"lost": lost})
        for number, lost in enumerate([0.0, 2.0, 0.0])
        for name, lost in (("quorate-h", lost), ("hocuspocus-sqlite", 100.0))
    ]

    (line,) = [line for line in verdicts(made) if "lost" in line]

    assert line.endswith("| lost | 2 |  |  |  | ≤ 0 | **misses** |")


@pytest.mark.parametrize("name", ["relay-python", "pycrdt-sqlite"])
async def test_the_peers_in_python_are_measured_likewise(name: str) -> None:
    figures = await typing_loads.fan_out(BY_NAME[name], 2, 0.1)

    assert figures["updates/s"] > 0


def test_a_plot_is_an_svg_with_every_point() -> None:
    drawn = plot("title", "across", "up", {"one": [(1.0, 10.0), (100.0, 20.0)]})

    assert drawn.startswith("<svg")
    assert drawn.count("<circle") == 2
