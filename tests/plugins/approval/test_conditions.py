"""Conditions of approval rules: what is refused, what is answered, and that nobody holds up the server with one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import cel
import celpy
import psutil
import pytest
from celpy.adapter import json_to_cel
from celpy.celtypes import BoolType
from celpy.evaluation import CELEvalError
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate_plugins.approval import condition_pool, condition_worker
from quorate_plugins.approval.condition_pool import ConditionPool
from quorate_plugins.approval.condition_worker import evaluate
from quorate_plugins.approval.conditions import (
    Asked,
    ConditionError,
    ConditionRefused,
    check_condition,
    check_facts,
)
from quorate_plugins.approval.contents import Content
from quorate_plugins.approval.desk import Desk
from quorate_plugins.approval.policies import PolicySet, read_policy
from quorate_plugins.approval.templates import DEFAULTS
from quorate_server.hooks import Server

LONG_TEXTS: dict[str, object] = {"request": {"texts": ["a" * 2_000] * 200}}
DEAR = "request.texts.all(x, request.texts.all(y, (x + y).matches('^(a|aa|aaa)*$')))"
"""Permitted, and takes many seconds."""


@pytest.fixture
async def pool() -> AsyncIterator[ConditionPool]:
    async with ConditionPool() as pool:
        yield pool


def asked(source: str, **facts: object) -> Asked:
    return Asked(source=source, facts=facts)


async def ask_one(pool: ConditionPool, source: str, **facts: object) -> bool | ConditionError:
    [answer] = await pool.ask([asked(source, **facts)])
    return answer


class Heartbeat:
    def __init__(self) -> None:
        self.ticks = 0

    async def beat(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            self.ticks += 1


@contextmanager
def heartbeat() -> Iterator[Heartbeat]:
    heart = Heartbeat()
    task = asyncio.get_running_loop().create_task(heart.beat())
    try:
        yield heart
    finally:
        task.cancel()


# What a source may be.


@pytest.mark.parametrize(
    "source",
    [
        "true",
        "request.risk == 'high' && 'legal' in requester.groups",
        "request.tags.all(x, request.tags.exists(y, x == y))",
        "request.tags.filter(x, x != '').map(x, x + 'a').exists_one(x, x == 'ba') && edit.size() > 1",
        "(request.a.filter(x, x.b.exists(y, y))).all(z, z.c.exists(y, y))",
        "timestamp(now).getHours() >= 9 && type(stage) == string",
        "has(subject.name) && size(subject.name) > 0 // who else",
        "[1, 2].exists(request_number, request_number == 1)",
        "(" * 50 + "true" + ")" * 50,
        "'" + "x" * 1_990 + "' == ''",
    ],
)
def test_a_condition_within_the_bounds_is_accepted(source: str) -> None:
    check_condition(source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("'" + "x" * 2_000 + "'", "up to 2000 bytes"),
        ("'" + "é" * 1_000 + "'", "up to 2000 bytes, not 2002"),
        ("'\ud800' == ''", "half a character"),
        ("request.", "expression in CEL"),
        ("request.a = 1", "expression in CEL"),
        ("'unfinished", "expression in CEL"),
        ("(true))", "expression in CEL"),
        ("1.0 < 2..", "expression in CEL"),
        ("user.name == 'x'", "not `user`"),
        ("[1].all(x, y == 1)", "not `y`"),
        ("optional.of(1).value() == 1", "not `optional`"),
        ("request.name.lowerAscii() == 'x'", "not `lowerAscii`"),
        ("__import__('os') == 1", "not `__import__`"),
        ("(" * 51 + "true" + ")" * 51, "up to 50 deep"),
        ("[" * 26 + "{1: " * 25 + "1" + "}" * 25 + "]" * 26, "up to 50 deep"),
    ],
)
def test_a_condition_beyond_a_bound_is_refused_and_the_reason_said(source: str, reason: str) -> None:
    with pytest.raises(ConditionRefused, match=reason):
        check_condition(source)


@pytest.mark.parametrize("macro", ["all", "exists", "exists_one", "existsOne", "map", "filter"])
def test_macros_three_deep_are_refused_however_they_are_written(macro: str) -> None:
    innermost = f"edit. {macro} // all(\n (z, true)"
    check_condition(f"request.all(x, {innermost} == true)")
    with pytest.raises(ConditionRefused, match="up to 2 deep"):
        check_condition(f"request.all(x, [request.exists\n(y, (({innermost} == true)))][0])")


def test_more_than_ten_macros_are_refused() -> None:
    one = "request.exists(x, x == 1)"
    check_condition(" || ".join([one] * 10))
    with pytest.raises(ConditionRefused, match="up to 10 macros"):
        check_condition(" || ".join([one] * 11))


@pytest.mark.parametrize(
    "text",
    [
        "'{}'",
        '"{}"',
        r"'\'{}'",
        r'"\"{}\\"',
        r"r'{}\'",
        r'R"\{}"',
        "'''it's {}\n'''",
        '"""a "word" {}\n"""',
        r"'''\'''{}'''",
        r"r'''{}\'''",
        r'r"""\{}"" """',
        "b'{}'",
        r'B"\"{}"',
        r"br'{}\'",
        "b'''{}'''",
    ],
)
def test_what_is_in_texts_and_comments_does_not_count(text: str) -> None:
    literal = text.format("a.all(x, a.all(y, a.all(z, [[((" + "b.map(x," * 11)
    check_condition(f"[1].exists(x, {literal} == {literal}) // {literal if chr(10) not in literal else ''}")


@pytest.mark.parametrize("text", ["''", '""', r"'\\'", r"r'\'", r"r'''\'''", "''''''", r"b'\''", r'br"\"', "'//'"])
def test_what_follows_a_text_does_count(text: str) -> None:
    with pytest.raises(ConditionRefused, match="up to 2 deep"):
        check_condition(f"{text} == {text} && request.all(x, request.all(y, request.all(z, 'a' == {text})))")


def test_other_variables_can_be_allowed() -> None:
    check_condition("dataset.owner == 'x'", variables=frozenset({"dataset"}))
    with pytest.raises(ConditionRefused, match="may name `dataset`, not `request`"):
        check_condition("request.owner == 'x'", variables=frozenset({"dataset"}))


# What facts may be.


def nested(depth: int) -> object:
    return 1 if depth == 0 else [nested(depth - 1)]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"a": list(range(201))}, "up to 200 members, not 201"),
        ({"a": {str(number): 1 for number in range(201)}}, "up to 200 members, not 201"),
        ({"a": "x" * 10_001}, "up to 10000 characters"),
        ({"x" * 10_001: 1}, "up to 10000 characters"),
        ({"a": ["x" * 10_000] * 51}, "up to 500000 characters"),
        ({"a": nested(8)}, "up to 8 deep"),
        ({"a": [[1] * 190] * 27}, "up to 5000 values"),
        ({"a": 2**63}, "up to 64 bits"),
        ({"a": float("nan")}, "finite"),
        ({"a": b"x"}, "type bytes"),
        ({"a": {1}}, "type set"),
        ({1: "a"}, "a key of facts is a text, not int"),
    ],
)
def test_facts_beyond_a_bound_are_refused(facts: object, reason: str) -> None:
    with pytest.raises(ConditionRefused, match=reason):
        check_facts(facts)


def test_facts_at_the_bounds_are_accepted() -> None:
    check_facts({"a": list(range(200)), "b": "x" * 10_000, "c": nested(7), "d": -(2**63), "e": None, "f": 0.5})
    check_facts({"a": [[1] * 199] * 24, "b": MappingProxyType({"c": (1, 2)})})


# What is answered.


async def test_conditions_are_answered_in_the_order_they_are_asked(pool: ConditionPool) -> None:
    facts = {"request": {"risk": 3, "share": 0.5, "name": "Zoë", "none": None}}
    sources = ["request.risk == 3", "request.risk > 3", "request.share < 0.6", "request.name == 'Zoë'"]
    assert await pool.ask([Asked(source=source, facts=facts) for source in sources]) == [True, False, True, True]
    assert (
        await ask_one(pool, "type(request.a) == int && type(request.b) == double", request={"a": 1, "b": 1.0}) is True
    )
    assert await ask_one(pool, "request.none == null", **facts) is True
    assert await ask_one(pool, "request.a[1] == 2", request=MappingProxyType({"a": (1, 2)})) is True
    assert await ask_one(pool, "timestamp(now) < timestamp('2026-02-01T00:00:00Z')", now="2026-01-31T12:00:00Z") is True
    assert await pool.ask([]) == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("request.missing == 1", "'missing'"),
        ("subject.name == 'x'", "'subject'"),
        ("request.risk == 3 && request.missing", "'missing'"),
        ("request.name > 3", "TypeError"),
        ("request.name + 1 == 'x'", "TypeError"),
        ("request.risk", "type int"),
        ("request.name", "type str"),
        ("null", "type NoneType"),
        ("request.risk / 0 == 1", "ZeroDivisionError"),
        ("request.name.matches('(')", "regex"),
        ("request.", "ValueError"),
        ("'" + "x" * 2_000 + "'", "up to 2000 bytes"),
        ("'\ud800' == ''", "half a character"),
    ],
)
async def test_what_cannot_be_evaluated_is_an_error_and_never_true(
    pool: ConditionPool, source: str, reason: str
) -> None:
    facts = {"request": {"risk": 3, "name": "x"}}
    bad, good = await pool.ask([Asked(source=source, facts=facts), Asked(source="true", facts=facts)])
    assert isinstance(bad, ConditionError)
    assert not bad
    assert reason in bad.reason
    assert good is True


@pytest.mark.parametrize("facts", [{"request": "\ud800"}, {"request": b"x"}, {"request": [1] * 201}])
async def test_facts_that_are_refused_are_an_error_of_their_question_only(
    pool: ConditionPool, facts: Mapping[str, object]
) -> None:
    bad, good = await pool.ask([Asked(source="true", facts=facts), asked("true")])
    assert isinstance(bad, ConditionError)
    assert good is True
    assert [type(answer) for answer in await pool.ask([Asked(source="true", facts=facts)] * 500)] == [
        ConditionError
    ] * 500


async def test_a_thousand_requests_are_answered_together(pool: ConditionPool) -> None:
    questions = [asked("request.risk > 499", request={"risk": risk, "notes": "x" * 500}) for risk in range(1_000)]
    assert await pool.ask(questions) == [risk > 499 for risk in range(1_000)]


async def test_callers_at_the_same_time_each_get_their_own_answers(pool: ConditionPool) -> None:
    async def ask(number: int) -> None:
        questions = [asked("request == stage", request=number, stage=other) for other in range(20)]
        assert await pool.ask(questions) == [other == number for other in range(20)]

    await asyncio.gather(*(ask(number) for number in range(20)))


# The same as another implementation says.

FACTS: dict[str, Any] = {
    "request": {"risk": 3, "name": "Ada", "tags": ["pii", "eu"], "open": True, "scores": [1, 5, 9], "none": None},
    "stage": 2,
    "edit": {"paths": ["/a", "/a/b"], "count": 0, "by": {"id": "u1", "groups": ["legal"]}},
}
SOURCES = """
    true
    !true
    request.open
    !request.open || stage == 2
    request.risk == 3 && request.name == "Ada"
    request.risk != 3 || request.name != "Ada"
    request.risk > 2
    request.risk >= 4
    request.risk < stage
    request.risk <= stage + 1
    request.name < "Bob"
    request.name + "!" == "Ada!"
    request.name.startsWith("A")
    request.name.endsWith("b")
    request.name.contains("d")
    request.name.matches("^A.*a$")
    request.name.matches("[0-9]+")
    request.name.size() == 3
    size(request.name) > 3
    size(request.tags) == 2
    "pii" in request.tags
    "us" in request.tags
    !("us" in request.tags)
    "risk" in request
    "missing" in request
    has(request.risk)
    has(request.missing)
    has(request.missing) && request.missing == 1
    has(edit.by.groups)
    request.tags[0] == "pii"
    request.tags[5] == "pii"
    request["name"] == "Ada"
    request.missing == 1
    request.missing == 1 || true
    true || request.missing == 1
    request.missing == 1 && false
    request.none == null
    request.name == null
    request.scores.all(x, x > 0)
    request.scores.all(x, x > 1)
    request.scores.exists(x, x == 5)
    request.scores.exists(x, x == 6)
    request.scores.exists_one(x, x > 5)
    request.scores.exists_one(x, x > 1)
    request.scores.map(x, x * 2) == [2, 10, 18]
    request.scores.filter(x, x > 1) == [5, 9]
    request.scores.filter(x, x > 1).map(x, x - 1).exists(x, x == 8)
    request.scores.all(x, request.scores.exists(y, y >= x))
    edit.paths.all(x, x.startsWith("/a"))
    edit.by.groups.exists(x, x in ["legal", "risk"])
    request.open ? request.risk == 3 : false
    request.risk > 5 ? false : request.open
    request.risk + stage * 2 == 7
    (request.risk + stage) * 2 == 10
    request.risk - 5 == -2
    -request.risk == -3
    request.risk / stage == 1
    request.risk % stage == 1
    -7 / 2 == -3
    -7 % 2 == -1
    request.risk / edit.count == 1
    9223372036854775807 + stage > 0
    [1, 2] == [1, 2]
    [1, 2] + [3] == [1, 2, 3]
    {"a": 1} == {"a": 1}
    {"a": 1}.a == 1
    int("12") == 12
    int("x") == 12
    string(request.risk) == "3"
    double(stage) == 2.0
    1.5 + 2.0 == 3.5
    request.name + 1 == "Ada1"
    request.name > 1
    request.risk && true
    timestamp("2026-01-01T00:00:00Z") < timestamp("2026-01-02T00:00:00Z")
    timestamp("2026-01-01T00:00:00Z") + duration("24h") == timestamp("2026-01-02T00:00:00Z")
    timestamp("2026-03-05T07:00:00Z").getHours() == 7
    timestamp("2026-03-05T07:00:00Z").getFullYear() == 2026
    timestamp("2026-03-05T07:00:00Z").getMonth() == 2
    type(stage) == int
    "\\u00e9" == "é"
    r"\\d" == "\\\\d"
""".strip().splitlines()

ENVIRONMENT = celpy.Environment()


def other_says(source: str, facts: Mapping[str, Any]) -> bool | None:
    """What `celpy` says; `None` if that is an error or no bool."""
    program = ENVIRONMENT.program(ENVIRONMENT.compile(source))
    try:
        result = program.evaluate({name: json_to_cel(value) for name, value in facts.items()})
    except CELEvalError:
        return None
    return bool(result) if isinstance(result, (bool, BoolType)) else None


async def test_another_implementation_says_the_same(pool: ConditionPool) -> None:
    sources = [source.strip() for source in SOURCES]
    answers = await pool.ask([Asked(source=source, facts=FACTS) for source in sources])
    ours = {source: None if isinstance(a, ConditionError) else a for source, a in zip(sources, answers, strict=True)}
    for source in sources:
        check_condition(source)
    assert ours == {source: other_says(source, FACTS) for source in sources}


WHOLE = st.sampled_from(["request.risk", "stage", "size(request.tags)", "edit.count"]) | st.integers(0, 9).map(str)
"""Cannot fail: the other implementation lets no `true ||` make up for an error within `exists_one`."""
NUMBERS = st.recursive(
    WHOLE,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner),
    max_leaves=3,
)
TEXTS = st.sampled_from(["request.name", "request.tags[0]", "request.tags[2]", "edit.by.id", "'Ada'", "'pii'", "''"])
COMPARISONS = (
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), NUMBERS)
    | st.builds("{} {} {}".format, TEXTS, st.sampled_from(["==", "!=", "<", ">="]), TEXTS)
    | st.builds("{}.{}({})".format, TEXTS, st.sampled_from(["contains", "startsWith", "endsWith"]), TEXTS)
    | st.builds("{} in request.tags".format, TEXTS)
    | st.builds("{} in request.scores".format, NUMBERS)
    | st.builds("request.scores.{}(x, x > {})".format, st.sampled_from(["all", "exists", "exists_one"]), WHOLE)
    | st.sampled_from(["true", "false", "request.open", "request.missing"])
).map("({})".format)
EXPRESSIONS = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||", "=="]), inner)
        | st.builds("!({})".format, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(source=EXPRESSIONS)
def test_another_implementation_says_the_same_of_made_up_conditions(source: str) -> None:
    check_condition(source)
    answer = evaluate(source, cel.Context(variables=FACTS))
    assert (None if isinstance(answer, str) else answer) == other_says(source, FACTS)


# Whoever wants to hold up the server.

ABUSES: dict[str, tuple[str, dict[str, object]]] = {
    "regex": ("request.matches('^(a+)+$')", {"request": "a" * 9_999 + "b"}),
    "large regex": ("request.all(x, x.matches('\\\\w{90}'))", {"request": ["é" * 2_000] * 200}),
    "too large regex": ("request.matches('((a{100}){100}){100}')", {"request": "a"}),
    "deepest macros": (DEAR, LONG_TEXTS),
    "200 by 200": (
        "request.all(x, x.all(y, y >= 0)) || request.all(x, request.all(y, x == y))",
        {"request": [[1] * 24] * 190},
    ),
    "products": (
        "request.map(x, request.map(y, request)).map(x, x.map(y, y + y)).map(x, x.map(y, y + y)) == []",
        {"request": list(range(200))},
    ),
    "memory": ("request.map(x, request.map(y, x + y + x + y)) == []", {"request": ["a" * 2_400] * 200}),
}


@pytest.mark.parametrize("abuse", ABUSES)
async def test_abuse_is_over_in_time_and_the_server_works_on(pool: ConditionPool, abuse: str) -> None:
    source, facts = ABUSES[abuse]
    check_condition(source)
    check_facts(facts)
    with heartbeat() as heart:
        loop = asyncio.get_running_loop()
        start = loop.time()
        bad, good = await pool.ask([Asked(source=source, facts=facts), asked("true")])
        seconds = loop.time() - start
    assert isinstance(bad, (bool, ConditionError))
    assert good is True
    assert seconds < condition_pool.BUDGET_SECONDS + condition_pool.START_SECONDS
    assert heart.ticks > seconds * 20  # of a hundred: it was never held up for long


async def test_only_the_conditions_that_take_too_long_get_no_answer(pool: ConditionPool) -> None:
    cheap = asked("request == 1", request=1)
    dear = Asked(source=DEAR, facts=LONG_TEXTS)
    answers = await pool.ask([cheap, cheap, dear, cheap, dear, cheap, *[cheap] * 300], timeout_seconds=0.3)
    timeout = ConditionError(reason=condition_pool.TIMEOUT)
    assert answers == [True, True, timeout, True, timeout, True, *[True] * 300]


async def test_many_conditions_that_take_too_long_are_given_up_together(
    pool: ConditionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condition_pool, "BUDGET_SECONDS", 0.8)
    answers = await pool.ask([Asked(source=DEAR, facts=LONG_TEXTS)] * 500, timeout_seconds=0.1)
    assert {type(answer) for answer in answers} == {ConditionError}
    assert answers[-1] == ConditionError(reason=condition_pool.LATE)
    assert await ask_one(pool, "true") is True


# Processes that come and go.


async def test_a_process_killed_between_two_questions_is_replaced(pool: ConditionPool) -> None:
    assert await ask_one(pool, "true") is True
    killed = pool.process_id
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    assert await pool.ask([asked("true"), asked("false")]) == [True, False]
    assert pool.process_id not in (None, killed)


async def test_a_process_killed_at_work_is_replaced_and_all_is_answered(pool: ConditionPool) -> None:
    await ask_one(pool, "true")
    killed = pool.process_id
    assert killed is not None
    slow = "request.all(x, request.all(y, x <= 200))"
    questions = [asked(slow, request=list(range(200)), stage=number) for number in range(100)]
    asking = asyncio.create_task(pool.ask(questions, timeout_seconds=5))
    await asyncio.sleep(0.05)
    os.kill(killed, signal.SIGKILL)
    assert await asking == [True] * 100
    assert pool.process_id not in (None, killed)


async def test_a_condition_that_ends_its_process_ends_no_other_condition() -> None:
    # The module by its file, as the pool runs it: the package would bring the whole engine, a second at each start.
    program = f"""
import importlib.util, os
spec = importlib.util.spec_from_file_location("condition_worker", {condition_worker.__file__!r})
condition_worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(condition_worker)
condition_worker.evaluate = lambda source, context: os._exit(1) if source == "deadly" else True
condition_worker.main()
"""
    async with ConditionPool(command=[sys.executable, "-c", program]) as pool:
        answers = await pool.ask([asked("a"), asked("deadly"), asked("b"), asked("deadly"), asked("c")])
    ended = ConditionError(reason=condition_pool.ENDED)
    assert answers == [True, ended, True, ended, True]


async def test_a_caller_who_gives_up_leaves_nothing_behind_for_the_next(pool: ConditionPool) -> None:
    await ask_one(pool, "true")
    questions = [asked("true"), asked("true"), Asked(source=DEAR, facts=LONG_TEXTS)]
    for seconds in (0.0, 0.001, 0.1):
        asking = asyncio.create_task(pool.ask(questions))
        await asyncio.sleep(seconds)
        waiting = asyncio.create_task(pool.ask([asked("false"), asked("request", request=True)]))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await waiting == [False, True]


async def test_no_process_is_left_after_closing() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    async with ConditionPool() as pool:
        await pool.ask([Asked(source=DEAR, facts=LONG_TEXTS), asked("true")], timeout_seconds=0.1)
        assert pool.process_id is not None
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert await ask_one(pool, "true") == ConditionError(reason=condition_pool.CLOSED)


async def test_closing_ends_what_is_being_asked() -> None:
    pool = ConditionPool()
    asking = asyncio.create_task(pool.ask([Asked(source=DEAR, facts=LONG_TEXTS)] * 3, timeout_seconds=5))
    while pool.process_id is None:
        await asyncio.sleep(0.01)
    await pool.close()
    assert await asking == [ConditionError(reason=condition_pool.CLOSED)] * 3
    assert pool.process_id is None


async def test_a_pool_that_was_never_asked_can_be_closed() -> None:
    async with ConditionPool() as pool:
        assert pool.process_id is None


@pytest.mark.parametrize(
    "command",
    [
        ["/nowhere/python"],
        [sys.executable, "-c", "pass"],
        [sys.executable, "-c", "print('no message at all', flush=True); input()"],
        [sys.executable, "-c", "import time; time.sleep(60)"],
    ],
)
async def test_without_a_process_all_answers_are_errors(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition_pool, "START_SECONDS", 0.5)
    async with ConditionPool(command=command) as pool:
        assert await pool.ask([asked("true")] * 300) == [ConditionError(reason=condition_pool.NO_WORKER)] * 300


async def test_a_process_whose_server_is_gone_ends_by_itself() -> None:
    process = await asyncio.create_subprocess_exec(
        *condition_pool.WORKER_COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert await process.stdout.readexactly(8) == b"\x00\x00\x00\x04true"
    process.stdin.write(b"\x00\x00\x00\xff{")  # and within a frame
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_the_rulings_on_a_thousand_requests_leave_everybody_their_turn() -> None:
    """However large their facts are, and however many of them are refused, others come in between, again and again."""
    desk = Desk()
    desk.server = cast("Server", SimpleNamespace(principals_with=lambda *_: ()))
    rules = {f"r{n}": {"effect": "forbid", "when": f"request.fields.n == {n}"} for n in range(3)}
    policies = PolicySet(version=1, policies={"p": read_policy({"rules": rules})}, defaults=DEFAULTS)
    turns = 0
    is_over = False

    async def others() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            await asyncio.sleep(0)

    async with ConditionPool() as pool:
        desk._conditions = pool
        for size in (3, 400):
            asked = {str(number): (content_of(number, size), "rita") for number in range(1000)}
            turns, is_over = 0, False
            watching = asyncio.create_task(others())
            rulings = await desk.rule_all(asked, policies, 0.0)
            is_over = True
            await watching
            assert len(rulings) == 1000
            assert turns > 40


def content_of(number: int, size: int) -> Content:
    fields: dict[str, object] = {f"k{each}": "v" * 60 for each in range(size)} | {"n": number}
    return Content(
        hash=str(number), parts={f"fields/{key}": value for key, value in fields.items()}, title="",
        type="schema_change", subject="text/a", subject_version="", priority="normal", risk="low", beneficiaries=(),
        valid_until=None, fields=fields,
    )  # fmt: skip
