"""Conditions of approval rules: expressions in CEL, written by users, that are true or false of some facts.

An evaluation has no limit of its own, and nothing else in the process runs meanwhile. So there are two defences. What
can be seen before, in the source and in the facts, is bounded here. And the evaluation itself happens in another
process, which is killed when it takes too long.

A condition that cannot be evaluated is a `ConditionError`, never true: whoever asks decides what then, and should
decide as if somebody had objected.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    import cel

VARIABLES = frozenset({"request", "requester", "subject", "now", "stage", "edit"})
"""What a condition may speak of, unless told otherwise."""
FUNCTIONS = frozenset(
    {"contains", "dyn", "double", "duration", "endsWith", "int", "matches", "size", "startsWith", "string"}
    | {"timestamp", "type", "uint"}
    | {"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds"}
    | {"getMinutes", "getMonth", "getSeconds"}
)
"""The functions there are. Those of other dialects compile too, and would fail each time they are called."""
MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
"""What repeats a part of a condition for each member of a list or map."""
TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
"""Names of types, which the library lists among the variables."""

MAX_SOURCE_BYTES = 2_000
MAX_BRACKET_DEPTH = 50
MAX_MACRO_DEPTH = 2
MAX_MACROS = 10

MAX_MEMBERS = 200
MAX_TEXT_CHARACTERS = 10_000
MAX_ALL_TEXT_CHARACTERS = 500_000
"""Of all texts and keys of the facts together, so that their encoding does not hold up the server."""
MAX_FACTS_DEPTH = 8
"""The facts themselves are the first level, a list in them the second."""
MAX_VALUES = 5_000
MAX_INTEGER = 2**63


class ConditionRefused(ValueError):
    """This is no condition, or these are no facts for one. The text says what was expected and what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionError:
    """A condition that says neither yes nor no, and why. It is an answer, and is never raised."""

    reason: str

    def __bool__(self) -> bool:
        """Return `False`: nobody shall take an error for a yes because they forgot to look."""
        return False


Answered: TypeAlias = bool | ConditionError
"""What a condition says of facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question: what a condition says of facts. The facts are JSON, and must not change until it is answered."""

    source: str
    facts: Mapping[str, object]


_TOKEN = re.compile(
    r"""
      (?P<comment> //[^\n]*)
    | (?P<text>
          [bB]?[rR] (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\r\n]*" | '[^'\r\n]*' )
        | [bB]? (?: \"{3}(?:[^\\]|\\.)*?\"{3} | '{3}(?:[^\\]|\\.)*?'{3} )
        | [bB]? (?: "(?:[^"\\\r\n]|\\.)*" | '(?:[^'\\\r\n]|\\.)*' )
      )
    | (?P<name> [A-Za-z_][A-Za-z_0-9]*)
    | (?P<open> [(\[{])
    | (?P<close> [)\]}])
    | (?P<other> \S)
    """,
    re.VERBOSE | re.DOTALL,
)
"""The parts of a source. An unfinished text falls apart into others; it does not compile, so that does no harm."""


def check_condition(source: str, *, variables: frozenset[str] = VARIABLES) -> None:
    """Check what can be seen of a condition without facts. Takes a few milliseconds at most.

    It guarantees a bound of what is repeated, not that an evaluation is fast or succeeds: that is up to the facts.

    Args:
        source: the condition.
        variables: the names it may use besides those that its own macros introduce.

    Raises:
        ConditionRefused: it is empty, too long, or nested too deeply; has too many macros or too many within each
            other; does not compile; or names a variable or a function that there is not.
    """
    check_length(source)
    names = _scan(source)
    try:
        program = _compiled(source)
    except ValueError as error:
        raise ConditionRefused(f"a condition is an expression in CEL; {' '.join(str(error).split())[:400]}") from error
    unknown = set(program.variables()) - variables - TYPES - names
    if unknown:
        raise ConditionRefused(f"a condition may name {_listed(variables)}, not {_listed(unknown)}")
    unknown = _called(program) - FUNCTIONS
    if unknown:
        raise ConditionRefused(f"a condition may call {_listed(FUNCTIONS)}, not {_listed(unknown)}")


def _compiled(source: str) -> cel.Program:
    """Return the program of a condition.

    Raises:
        ValueError: it is no expression.
    """
    with _no_command_line():
        # Only here: most servers check no condition until somebody writes a policy. It takes 2 MiB, once.
        import cel as library  # noqa: PLC0415

    return library.compile(source)


@contextmanager
def _no_command_line() -> Generator[None]:
    """Keep the library from loading its command line too: 8 MiB, and ten times as long as all else of it."""
    name = "cel.cli"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]  # so that who does want it gets it


def _called(program: cel.Program) -> set[str]:
    """Return the functions that a program calls by name."""
    # Operators are listed with the functions, under names that are no identifiers; but one looks like one.
    return {name for name in program.functions() if name.isidentifier() and name != "_in_"}


def check_length(source: str) -> None:
    """Do nothing if a source is not too long, and text.

    Raises:
        ConditionRefused: it is.
    """
    if not source.strip():
        raise ConditionRefused("a condition is an expression in CEL, and this one is empty")
    if len(source) > MAX_SOURCE_BYTES:  # the encoding of a very long one is not worth its time
        raise ConditionRefused(f"a condition has up to {MAX_SOURCE_BYTES} bytes, not {len(source)} characters")
    try:
        size = len(source.encode())
    except UnicodeEncodeError as error:
        raise ConditionRefused("a condition is text, and this one has half a character") from error
    if size > MAX_SOURCE_BYTES:
        raise ConditionRefused(f"a condition has up to {MAX_SOURCE_BYTES} bytes, not {size}")


@dataclass(slots=True)
class _Nesting:
    """Which brackets are open at a place of a source, and the macros there were up to it."""

    open_brackets: list[bool] = field(default_factory=list[bool])
    """For each, whether it holds the arguments of a macro."""
    macros: int = 0

    def enter(self, *, is_macro: bool) -> None:
        self.open_brackets.append(is_macro)
        self.macros += is_macro
        if len(self.open_brackets) > MAX_BRACKET_DEPTH:
            raise ConditionRefused(f"brackets of a condition are up to {MAX_BRACKET_DEPTH} deep, and these are deeper")
        if sum(self.open_brackets) > MAX_MACRO_DEPTH:
            raise ConditionRefused(
                f"macros of a condition are up to {MAX_MACRO_DEPTH} deep, such as `a.all(x, x.exists(y, y))`, "
                f"and these are deeper"
            )
        if self.macros > MAX_MACROS:
            raise ConditionRefused(f"a condition has up to {MAX_MACROS} macros ({_listed(MACROS)}), and this has more")

    def leave(self) -> None:
        if self.open_brackets:  # otherwise it does not compile, which is found later
            self.open_brackets.pop()


def _scan(source: str) -> set[str]:
    """Check how deep a source is nested, and return the names that its macros introduce.

    Every name of a macro before a parenthesis counts as one, even where the library would see a plain function.
    """
    names: set[str] = set()
    nesting = _Nesting()
    before, last = "", ""
    for kind, text in _tokens(source):
        if kind == "open":
            nesting.enter(is_macro=_begins_macro(last, text))
        elif kind == "close":
            nesting.leave()
        elif kind == "name" and _begins_macro(before, last):
            names.add(text)
        before, last = last, text
    return names


def _begins_macro(name: str, bracket: str) -> bool:
    return bracket == "(" and name in MACROS


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    """Yield the kinds of tokens, comments left out, and what they are; of a text, which may look like one, nothing."""
    for match in _TOKEN.finditer(source):
        if match.lastgroup is not None and match.lastgroup != "comment":
            yield match.lastgroup, match.group() if match.lastgroup != "text" else ""


def _listed(names: frozenset[str] | set[str]) -> str:
    return ", ".join(f"`{name[:60]}`" for name in sorted(names)[:40])


def check_facts(facts: object) -> None:
    """Check that facts are JSON of a size that conditions can be asked about. Takes a few milliseconds at most.

    Raises:
        ConditionRefused: a list or map has more than 200 members; a text more than 10,000 characters; all texts
            together more than 500,000; there are more than 5,000 values; lists and maps are nested more than 8 deep;
            or there is a value that is no JSON, or an integer of more than 64 bits.
    """
    values = characters = 0
    waiting: list[tuple[object, int]] = [(facts, 1)]
    while waiting:
        value, depth = waiting.pop()
        members = _members(value)
        if members is None:
            characters += _check_single(value)
        elif depth > MAX_FACTS_DEPTH:
            raise ConditionRefused(f"facts are nested up to {MAX_FACTS_DEPTH} deep, and these are deeper")
        else:
            characters += _check_keys(value)
            values += len(members)
            waiting.extend((member, depth + 1) for member in members)
        _check_amounts(values, characters)


def _check_amounts(values: int, characters: int) -> None:
    if values > MAX_VALUES:
        raise ConditionRefused(f"facts have up to {MAX_VALUES} values, and these have more")
    if characters > MAX_ALL_TEXT_CHARACTERS:
        raise ConditionRefused(f"texts of facts have up to {MAX_ALL_TEXT_CHARACTERS} characters, and these more")


def _members(value: object) -> list[object] | None:
    """Return the members of a list or map; `None` if a value is neither."""
    if not isinstance(value, (Mapping, list, tuple)):
        return None
    container = cast("Mapping[object, object] | list[object] | tuple[object, ...]", value)
    if len(container) > MAX_MEMBERS:  # before they are copied
        raise ConditionRefused(f"a list or map of facts has up to {MAX_MEMBERS} members, not {len(container)}")
    return list(container.values()) if isinstance(container, Mapping) else list(container)


def _check_keys(value: object) -> int:
    """Check the keys of a map and return how many characters they have; nothing is wrong with those of a list."""
    if not isinstance(value, Mapping):
        return 0
    characters = 0
    for key in cast("Mapping[object, object]", value):
        if not isinstance(key, str):
            raise ConditionRefused(f"a key of facts is a text, not {_type_name(key)}")
        characters += _check_single(key)
    return characters


def _check_single(value: object) -> int:
    """Check a value that is no list or map, and return how many characters of text it has."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT_CHARACTERS:
            raise ConditionRefused(f"a text of facts has up to {MAX_TEXT_CHARACTERS} characters, not {len(value)}")
        return len(value)
    if isinstance(value, int | float):
        _check_number(value)
    elif value is not None:
        raise ConditionRefused(f"facts are JSON, and have no values of type {_type_name(value)}")
    return 0


def _check_number(value: float) -> None:
    if isinstance(value, int):
        if not -MAX_INTEGER <= value < MAX_INTEGER:
            raise ConditionRefused(f"an integer of facts has up to 64 bits, not {value.bit_length() + 1}")
    elif not math.isfinite(value):
        raise ConditionRefused(f"a number of facts is finite, not {value}")


def _type_name(value: object) -> str:
    return type(value).__name__
