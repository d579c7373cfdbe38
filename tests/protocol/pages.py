"""Draws the parts of `docs/protocol.md` that the code says; run it to bring the page up to date.

    python -m tests.protocol.pages

A part stands between `<!-- name -->` and `<!-- end name -->`; a test compares it with the code.
"""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

from quorate_protocol import limits
from quorate_protocol.closing import CLOSING_RULES
from quorate_protocol.limits import DEFAULT_LIMITS
from quorate_protocol.transitions import TRANSITIONS, AddressState

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
_KIB = 1024
_MIB = 1024 * _KIB


def close_codes() -> str:
    """Draw the table of close codes."""
    lines = [
        "| code | says | permanent | y-websocket client | Hocuspocus provider |",
        "|---|---|---|---|---|",
    ]
    for rule in CLOSING_RULES.values():
        permanent = "yes" if rule.is_permanent else "no"
        cells = (str(rule.code), rule.meaning, permanent, rule.y_websocket, rule.hocuspocus)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def limit_table() -> str:
    """Draw the table of limits, with the first sentence of each one's reason."""
    lines = ["| limit | default | what it bounds, and why so |", "|---|---|---|"]
    reasons = _reasons()
    for field in dataclasses.fields(DEFAULT_LIMITS):
        value = _amount(field.name, getattr(DEFAULT_LIMITS, field.name))
        lines.append(f"| `{field.name}` | {value} | {reasons[field.name]} |")
    return "\n".join(lines)


def address_states() -> str:
    """Draw the life of an address as a diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {AddressState.UNKNOWN}"]
    for state, row in TRANSITIONS.items():
        targets: dict[AddressState, list[str]] = {}
        for trigger, target in row.items():
            targets.setdefault(target, []).append(trigger)
        lines += [f"    {state} --> {target}: {', '.join(triggers)}" for target, triggers in targets.items()]
    return "\n".join([*lines, "```"])


PARTS = {"close codes": close_codes, "limits": limit_table, "address states": address_states}


def part(page: str, name: str) -> str:
    """Return what stands on the page under a name."""
    found = re.search(rf"<!-- {name} -->\n(.*)\n<!-- end {name} -->", page, re.DOTALL)
    assert found, f"docs/protocol.md has no part {name!r}"
    return found.group(1)


def _reasons() -> dict[str, str]:
    tree = ast.parse(inspect.getsource(limits))
    [kind] = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Limits"]
    reasons: dict[str, str] = {}
    for field, text in zip(kind.body, kind.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            reasons[field.target.id] = " ".join(str(text.value.value).split())
    return reasons


def _amount(name: str, value: float) -> str:
    if "bytes" not in name:
        return f"{value:g} s" if name.endswith("_seconds") else f"{value:g}"
    if value % _MIB == 0:
        return f"{value // _MIB} MiB"
    return f"{value // _KIB} KiB" if value % _KIB == 0 else f"{value} B"


def main() -> None:
    """Write every part anew."""
    page = PAGE.read_text(encoding="utf-8")
    for name, draw in PARTS.items():
        page = page.replace(part(page, name), draw())
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
