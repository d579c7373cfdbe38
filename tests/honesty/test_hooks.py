"""The page on plugins and the contract say the same: each hook, each name, each example."""

from __future__ import annotations

import inspect
import re
import time
import tomllib
import types
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Map
from standardwebhooks.webhooks import WebhookVerificationError

from quorate_plugins.webhooks.endpoints import new_secret
from quorate_plugins.webhooks.messages import headers_of
from quorate_protocol.ids import DocumentName
from quorate_server import hooks
from quorate_server.engine_house import ENTRY_POINTS, HOOKS, load_engines
from quorate_server.errors import SettingsError
from quorate_server.settings import load_settings
from tests.server.houses import Guest, changes_of, open_house, open_room, person, until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text("utf-8")
ENGINE_HOOKS = [name for name, member in vars(hooks.Engine).items() if callable(member) and not name.startswith("_")]
DECLARED: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][
    ENTRY_POINTS
]


def heading_of(hook: str) -> str:
    member: Callable[..., object] = getattr(hooks.Engine, hook)
    return f"### `{hook}{inspect.signature(member)}`".replace("'", "")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def code_in(title: str) -> str:
    [block] = re.findall(r"```python\n(.*?)```", section(title), re.DOTALL)
    return str(block)


def run(code: str) -> types.ModuleType:
    """The module that a block of the page is."""
    module = types.ModuleType("from_the_page")
    exec(compile(code, "docs/plugins.md", "exec", dont_inherit=True), module.__dict__)
    return module


def test_there_are_hooks() -> None:
    assert set(ENGINE_HOOKS) == set(HOOKS)


@pytest.mark.parametrize("hook", ENGINE_HOOKS)
def test_every_hook_has_a_heading_with_its_signature(hook: str) -> None:
    assert heading_of(hook) in PAGE.splitlines()


def test_no_hook_has_a_heading_that_is_none() -> None:
    named = re.findall(r"^### `(\w+)\(", PAGE, re.MULTILINE)
    assert sorted(named) == sorted(ENGINE_HOOKS)


@pytest.mark.parametrize("hook", ENGINE_HOOKS)
def test_every_hook_says_what_it_may_do_and_what_it_costs(hook: str) -> None:
    docstring = inspect.getdoc(getattr(hooks.Engine, hook))
    assert docstring
    assert "Budget: " in docstring or "Called once" in docstring


@pytest.mark.parametrize("hook", ENGINE_HOOKS)
def test_every_hook_is_used_by_a_test(hook: str) -> None:
    wanted = re.compile(rf"^ +(async )?def {hook}\(self", re.MULTILINE)
    sources = [path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts]
    assert any(wanted.search(path.read_text("utf-8")) for path in sources)


@pytest.mark.parametrize("hook", ENGINE_HOOKS)
def test_every_hook_is_used_by_an_engine_that_ships(hook: str) -> None:
    """A hook that nobody uses is not known to be of use; routes are for others."""
    engines = load_engines(",".join(DECLARED))
    used = [getattr(type(engine), hook) is not getattr(hooks.Engine, hook) for engine in engines]
    assert any(used) or hook == "routes"


@pytest.mark.parametrize("name", hooks.__all__)
def test_every_name_of_the_contract_is_on_the_page(name: str) -> None:
    assert hasattr(hooks, name)
    assert re.search(rf"\b{name}\b", PAGE)


@pytest.mark.parametrize("owner", [hooks.Server, hooks.Work, hooks.Artifact], ids=lambda owner: str(owner.__name__))
def test_every_method_is_on_the_page(owner: type) -> None:
    said = section(owner.__name__)
    for name, member in vars(owner).items():
        if inspect.isfunction(member) and not name.startswith("_") and name not in INNER:
            assert re.search(rf"`[^`]*\b{name}\(", said), f"{owner.__name__}.{name}"


INNER = {"add", "revert", "hand_in"}
"""Methods of `Work` that are the server's own."""


def test_every_attribute_of_an_engine_is_on_the_page() -> None:
    for name in hooks.Engine.__annotations__:
        assert f"| `{name}` |" in section("What an engine says of itself")


@pytest.mark.parametrize("name", DECLARED)
def test_every_entry_point_is_an_engine_of_its_name(name: str) -> None:
    [point] = [each for each in metadata.entry_points(group=ENTRY_POINTS) if each.name == name]
    assert point.value == DECLARED[name]
    [engine] = load_engines(name)
    assert engine.name == name
    assert f"The engine `{name}`" in PAGE


def test_every_command_of_the_engines_that_ship_is_on_the_page() -> None:
    for engine in load_engines(",".join(DECLARED)):
        for spec in engine.commands():
            assert f"`{spec.name}`" in PAGE
            assert spec.engine == engine.name


def test_engines_that_are_not_installed_are_not_selected_silently() -> None:
    with pytest.raises(SettingsError, match="there is no engine 'webhoks'; installed are "):
        load_engines("webhoks")
    assert load_engines("none") == []


def test_the_settings_that_the_page_names_are_read() -> None:
    assert "`QUORATE_TRACE_HOOKS=1`" in PAGE
    environment = {"QUORATE_TRACE_HOOKS": "1", "QUORATE_ENGINES": "a,b", "QUORATE_ENGINE_WEBHOOKS_ALLOW_PRIVATE": "1"}
    for name in environment:
        assert name in PAGE
    settings = load_settings(environment=environment | {"QUORATE_OPEN": "1"})
    assert (settings.trace_hooks, settings.engines) == (True, "a,b")
    assert settings.engine_settings == {"webhooks_allow_private": "1"}


async def test_the_example_runs_as_it_stands() -> None:
    module = run(code_in("A complete example"))
    engine: hooks.Engine = module.Completeness()
    async with open_house(engine) as house:
        room = await open_room(house.rooms, "plan/one")
        guest = Guest(room, "anna")

        def write(**members: object) -> None:
            guest.made.clear()
            guest.doc.get("plan", type=Map).update(members)
            for made in guest.made:
                guest.send(made)

        def said() -> object:
            record = house.rooms.find(DocumentName("plan/one/record"))
            found: dict[str, Any] = {}
            if record is not None:
                found = record.live.look(lambda doc: doc.get("record", type=Map).to_py()) or {}
            return found.get("completeness")

        write(title="Launch", owner="anna")
        await until(lambda: said() == {"missing": ["steps"]}, "it says what is missing")
        answer = await house.commands.run("completeness.check", {"artifact": "plan/one"}, user=person("ben"), via="api")
        assert answer.model_dump() == {"missing": ("steps",)}
        write(title="")
        write(steps="one")
        await until(lambda: said() == {"missing": []}, "nothing is missing")
        guest.take()
        assert guest.doc.get("plan", type=Map)["title"] == "Launch"
        await house.rooms.journal.flush()
        assert len(await changes_of(house.rooms, "completeness.reached")) == 1
        [effect] = await house.rooms.store.list_effects("completeness")
        assert effect.payload == {"plan": "plan/one"}


def test_the_receiver_of_the_page_takes_each_message_once_and_no_forgery() -> None:
    receive = run(code_in("Webhooks")).receive
    secret, body = new_secret(), b'{"id":"7"}'
    headers = headers_of("msg_1", body, [secret], time.time())
    with pytest.raises(WebhookVerificationError):
        receive(body, headers, new_secret())
    assert receive(body, headers, secret) == {"id": "7"}
    assert receive(body, headers, secret) is None
