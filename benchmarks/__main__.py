"""`python -m benchmarks`: measure Quorate beside the servers that people would pick instead.

Prints as it goes; keeps figures, table and plots in `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import uvloop

from benchmarks import report
from benchmarks.contestants import BY_NAME as CONTESTANTS
from benchmarks.contestants import PEERS
from benchmarks.programme import BY_NAME as SCENARIOS
from benchmarks.runner import keep, load, run_rounds, today
from benchmarks.server import pin_generator

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="less time, fewer connections, one round")
    parser.add_argument("--scenario", action="append", choices=tuple(SCENARIOS), metavar="NAME", help="only this one")
    parser.add_argument("--pairs", type=int, help=f"rounds; by default {ROUNDS}, or 1 with --short")
    parser.add_argument("--peers", nargs="+", choices=tuple(CONTESTANTS), metavar="NAME", help="only these contestants")
    parser.add_argument("--list", action="store_true", help="name the scenarios and the contestants")
    return parser.parse_args()


async def measure(options: argparse.Namespace) -> None:
    """Run the scenarios, and write down each when it has been run."""
    scenarios = options.scenario or [name for name in SCENARIOS if options.short or name != "soak"]
    rounds = options.pairs or (1 if options.short else ROUNDS)
    day = f"{today()}-short" if options.short else today()
    for name in scenarios:
        made = await run_rounds(
            SCENARIOS[name], rounds, tuple(options.peers or CONTESTANTS), is_short=options.short, tell=tell
        )
        keep(RESULTS / f"{day}.json", report.facts(), made)
    write(day)


def write(day: str) -> None:
    """Write the table and the plots of all that was measured on a day."""
    made = load(RESULTS / f"{day}.json")
    (RESULTS / f"{day}.md").write_text(report.markdown(day, report.facts(), made), "utf-8")
    for name, drawing in report.plots(made).items():
        (RESULTS / f"{day}-{name}.svg").write_text(drawing, "utf-8")
    print("\n".join(report.verdicts(made)))


def tell(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    options = arguments()
    if options.list:
        print("scenarios:", *SCENARIOS, "\ncontestants:", *CONTESTANTS)
        return
    if not (PEERS / "node_modules").is_dir():
        print("the peers are not installed: `make bench` does it. Quorate runs alone.")
    pin_generator()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(options))


if __name__ == "__main__":
    main()
