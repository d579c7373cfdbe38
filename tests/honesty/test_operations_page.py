"""The operations page names every setting and every metric, with the defaults that hold.

`python -m tests.honesty.test_operations_page` writes the table of settings anew.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from quorate_protocol.limits import Limits
from quorate_server.metrics import Metrics
from quorate_server.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BEGIN = "<!-- settings: drawn by tests/honesty/test_operations_page.py -->"
END = "<!-- /settings -->"


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for field in dataclasses.fields(Settings):
        if field.name not in {"limits", "engine_settings"}:
            default = field.default if field.default != "" else "-"
            rows.append(f"| `{field.name}` | {default} | {field.metadata['help']} |")
    rows += ["", "| limit | default |", "|---|---|"]
    rows += [f"| `{field.name}` | {field.default:,} |" for field in dataclasses.fields(Limits)]
    rows += ["", "What each limit is for stands in [protocol.md](protocol.md#limits)."]
    return "\n".join(rows)


def test_every_setting_is_on_the_page_with_its_default() -> None:
    drawn = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    assert drawn == settings_table()


def test_every_metric_is_on_the_page() -> None:
    named = set(re.findall(r"quorate_\w+", PAGE.read_text("utf-8")))
    for family in Metrics().registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert name in named, f"{name} is not explained in docs/operations.md"


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{settings_table()}\n{END}{rest.partition(END)[2]}", "utf-8")
