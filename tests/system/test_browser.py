"""The web client in a real browser: what two people see of each other, and whether "Saved" is true."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    WebSocketRoute,
    async_playwright,
    expect,
)

from quorate_protocol import hocuspocus
from quorate_server.pages import web_folder
from tests.system.servers import ServerProcess, token_for

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MILLISECONDS = 20_000
WELCOME = "text/welcome"
WATCH = """
window.violations = []
addEventListener('securitypolicyviolation', (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`))
window.said = []
addEventListener('DOMContentLoaded', () => {
  const place = document.getElementById('status-text')
  const note = () => window.said.push(place.textContent)
  new MutationObserver(note).observe(place, { childList: true, characterData: true, subtree: true })
})
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")
expect.set_options(timeout=PATIENCE_MILLISECONDS)


class DemoProcess(ServerProcess):
    """`quorate demo` as a child."""

    def start_now(self) -> DemoProcess:
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "quorate_server", "demo", "--port", str(self.port),
                    "--data", str(self.data),
                ],
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        match = re.search(r"ready on http://[^:]+:(\d+)", self.process.stdout.readline())
        assert match is not None, (self.data / "server.log").read_text()[-3000:]
        self.port = int(match[1])
        return self


@dataclass
class Window:
    """One person's browser window."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    """What the browser's console said was wrong."""

    @property
    def text(self) -> Locator:
        return self.page.get_by_role("textbox", name=re.compile("^Text of "))

    @property
    def status(self) -> Locator:
        return self.page.locator("#status-text")

    @property
    def banner(self) -> Locator:
        return self.page.locator("#banner")

    async def lines(self) -> str:
        """Return the text without the cursors of others."""
        lines: list[str] = await self.text.locator(".cm-line").evaluate_all(
            """(lines) => lines.map((line) => {
                const copy = line.cloneNode(true)
                copy.querySelectorAll('.caret').forEach((caret) => caret.remove())
                return copy.textContent
            })"""
        )
        return "\n".join(lines)

    async def write(self, text: str, *, at: str = "End") -> None:
        """Type at the end of the text, or at its start ("Home"); one edit a letter."""
        await expect(self.text).to_have_attribute("contenteditable", "true")
        await self.text.focus()
        await self.page.keyboard.press(f"Control+{at}")
        for letter in text:
            await self.page.keyboard.insert_text(letter)

    async def said(self) -> list[str]:
        """Return and forget what the status said since the last call."""
        said: list[str] = await self.page.evaluate("window.said.splice(0)")
        return said

    async def violations(self) -> list[str]:
        found: list[str] = await self.page.evaluate("window.violations")
        return found


@dataclass
class Office:
    """A browser in which people open windows, each with a session of their own."""

    browser: Browser

    async def window(self, url: str) -> Window:
        context = await self.browser.new_context()
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        await context.add_init_script(WATCH)
        window = Window(await context.new_page(), context)

        def note(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                window.complaints.append(message.text)

        window.page.on("console", note)
        window.page.on("pageerror", lambda error: window.complaints.append(str(error)))
        await window.page.goto(url)
        return window

    async def person(self, server: ServerProcess, name: str, document: str = WELCOME) -> Window:
        """Open a document as one of the demo's people."""
        window = await self.window(f"{server.url}/#{document}")
        await window.page.get_by_role("button", name=name).click()
        await expect(window.status).to_have_text(re.compile("^(Saved|Read only)$"))
        return window


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=require_chromium(), args=FLAGS)
        try:
            yield launched
        finally:
            await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def office(browser: Browser) -> AsyncIterator[Office]:
    yield Office(browser)
    for context in browser.contexts:
        await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    async with DemoProcess(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def doomed(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A demo of one test alone, which may harm it."""
    async with DemoProcess(tmp_path) as running:
        yield running


async def test_two_people_write_together(office: Office, demo: ServerProcess) -> None:
    amara = await office.person(demo, "Amara Okafor")
    jonas = await office.person(demo, "Jonas Weber")

    await amara.write("Greetings from Amara. ")
    await expect(jonas.text).to_contain_text("Greetings from Amara.")
    await expect(jonas.text.locator(".caret", has_text="Amara Okafor")).to_be_visible()
    await jonas.write("And from Jonas.")
    await expect(amara.text).to_contain_text("Greetings from Amara. And from Jonas.")
    await expect(amara.text.locator(".caret", has_text="Jonas Weber")).to_be_visible()
    await expect(amara.status).to_have_text("Saved")
    await expect(jonas.status).to_have_text("Saved")
    assert await amara.lines() == await jonas.lines()
    for window in (amara, jonas):
        assert (window.complaints, await window.violations()) == ([], [])


async def test_who_is_here_is_listed_and_follows_who_leaves(office: Office, demo: ServerProcess) -> None:
    amara = await office.person(demo, "Amara Okafor")
    jonas = await office.person(demo, "Jonas Weber")

    await amara.page.locator("#here-summary").click()
    people = amara.page.locator("#here-list li")
    await expect(people).to_have_text([re.compile("Amara Okafor.*you"), re.compile("Jonas Weber")])
    await expect(amara.page.locator("#here-title")).to_have_text("2 people are here")
    await jonas.context.close()
    await expect(people).to_have_text([re.compile("Amara Okafor")])
    await expect(amara.page.locator("#here-title")).to_have_text("1 person is here")


async def test_a_reload_keeps_person_document_and_text(office: Office, demo: ServerProcess) -> None:
    mei = await office.person(demo, "Mei Tanaka", "text/glossary")
    await mei.write("Data steward")
    await expect(mei.status).to_have_text("Saved")

    await mei.page.reload()

    await expect(mei.text).to_contain_text("Data steward")
    await expect(mei.page.locator("#title")).to_have_text("Glossary")
    await expect(mei.page.locator("#you-summary")).to_have_attribute("aria-label", "Signed in as Mei Tanaka")
    await expect(mei.status).to_have_text("Saved")
    assert (mei.complaints, await mei.violations()) == ([], [])


async def test_saved_is_said_only_of_what_is_on_disk(office: Office, doomed: ServerProcess) -> None:
    amara = await office.person(doomed, "Amara Okafor")
    await amara.write("safe ")
    await expect(amara.status).to_have_text("Saved")

    await while_database_is_locked(doomed.data, lambda: edit_in_vain(amara))

    await expect(amara.status).to_have_text("Saved")
    jonas = await office.person(doomed, "Jonas Weber")
    await expect(jonas.text).to_contain_text("safe abc")


async def edit_in_vain(window: Window) -> None:
    await window.said()
    await window.write("abc")
    await expect(window.status).to_have_text("Saving… 3 edits wait")
    await asyncio.sleep(1.5)  # the time in which a careless page would say it
    said = await window.said()
    assert set(said) <= {f"Saving… {edits}" for edits in ("1 edit waits", "2 edits wait", "3 edits wait")}


async def test_a_killed_server_costs_nobody_an_edit(office: Office, doomed: ServerProcess) -> None:
    amara = await office.person(doomed, "Amara Okafor")
    jonas = await office.person(doomed, "Jonas Weber")
    await amara.write("before ")
    await doomed.kill()
    for window in (amara, jonas):
        await expect(window.status).to_have_text(re.compile("^Offline: "))
        await expect(window.banner).to_contain_text("There is no connection to the server.")

    already = int(re.sub(r"\D", "", await amara.status.inner_text()) or 0)  # caught by the kill
    await amara.write("AAA")
    await expect(amara.status).to_have_text(f"Offline: {already + 3} edits are kept in this tab")
    await jonas.write("BB", at="Home")
    await expect(jonas.status).to_have_text("Offline: 2 edits are kept in this tab")
    await doomed.start()

    for window in (amara, jonas):
        await expect(window.status).to_have_text("Saved")
        await expect(window.text).to_contain_text("before AAA")
        await expect(window.text).to_contain_text("BB")
    assert await amara.lines() == await jonas.lines()
    assert await amara.violations() == []


async def test_a_viewer_reads_and_cannot_type(office: Office, demo: ServerProcess) -> None:
    jonas = await office.person(demo, "Jonas Weber")
    ravi = await office.person(demo, "Ravi Menon")
    before = await ravi.lines()

    await expect(ravi.status).to_have_text("Read only")
    await expect(ravi.banner).to_contain_text("You may read this document, not change it.")
    await ravi.text.focus()
    await ravi.page.keyboard.type("graffiti")
    assert await ravi.lines() == before
    await expect(ravi.page.get_by_role("button", name="New")).to_be_hidden()
    await jonas.write("news")
    await expect(ravi.text).to_contain_text("news")
    assert ravi.complaints == []


async def test_a_document_is_created_deleted_and_restored(office: Office, demo: ServerProcess) -> None:
    amara = await office.person(demo, "Amara Okafor")
    listed = amara.page.get_by_role("link", name="Access policy")
    await amara.page.get_by_role("button", name="New").click()
    await amara.page.get_by_label("Title").fill("Access policy")
    await amara.page.get_by_role("button", name="Create").click()
    await expect(listed).to_have_attribute("aria-current", "page")
    await expect(amara.status).to_have_text("Saved")
    await amara.write("draft")
    jonas = await office.person(demo, "Jonas Weber", "text/access-policy")

    await amara.page.get_by_role("button", name="Delete…").click()
    await amara.page.get_by_role("button", name="Delete", exact=True).click()
    for window in (amara, jonas):
        await expect(window.status).to_have_text("Deleted")
        await expect(window.banner).to_contain_text("This document was deleted.")
        await expect(window.text).to_contain_text("draft")
        await expect(window.text).to_have_attribute("aria-readonly", "true")
    await expect(listed).to_be_hidden()

    await amara.page.get_by_role("button", name="Restore it").click()
    await expect(amara.status).to_have_text("Saved")
    await jonas.page.get_by_role("button", name="Try again").click()
    await expect(jonas.status).to_have_text("Saved")
    assert amara.complaints == []


async def test_a_name_that_is_taken_is_told_in_words(office: Office, demo: ServerProcess) -> None:
    amara = await office.person(demo, "Amara Okafor")
    await amara.page.get_by_role("button", name="New").click()
    await amara.page.get_by_label("Title").fill("Welcome")
    await amara.page.get_by_role("button", name="Create").click()
    problem = amara.page.locator("#create-problem")
    await expect(problem).to_have_text("The name 'text/welcome' is in use.")


async def test_a_notice_of_the_server_is_shown_as_text(office: Office, demo: ServerProcess) -> None:
    window = await office.window("about:blank")
    frames: list[WebSocketRoute] = []

    def relay(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        frames.append(socket)

    await window.page.route_web_socket(re.compile("/hocuspocus"), relay)
    await window.page.goto(f"{demo.url}/#{WELCOME}")
    await window.page.get_by_role("button", name="Mei Tanaka").click()
    await expect(window.status).to_have_text("Saved")

    frames[-1].send(hocuspocus.encode_stateless(WELCOME, '{"message": "<b>Please</b> review"}'))
    toast = window.page.locator(".toast")
    await expect(toast).to_contain_text("<b>Please</b> review")
    await toast.get_by_role("button").click()
    await expect(toast).to_be_hidden()


async def test_an_open_server_asks_for_a_name(office: Office, tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, options=("--open",)) as server:
        zoe = await office.window(f"{server.url}/#room-1")
        await zoe.page.get_by_label("Your name").fill("Zoë")
        await zoe.page.get_by_role("button", name="Continue").click()
        await expect(zoe.status).to_have_text("Saved")
        await zoe.write("hello")
        yan = await office.window(f"{server.url}/#room-1")
        await yan.page.get_by_label("Your name").fill("Yan")
        await yan.page.keyboard.press("Enter")
        await expect(yan.text.locator(".caret", has_text="Zoë")).to_be_visible()


async def test_a_revoked_person_signs_in_again_and_loses_nothing(office: Office, tmp_path: Path) -> None:
    recheck = {"QUORATE_RECHECK_SECONDS": "0.2"}
    async with ServerProcess(tmp_path, environment=recheck) as server:
        zoe = await office.window(f"{server.url}/#text/a")
        token = zoe.page.get_by_label("Token")
        await token.fill("not a token")
        await token.press("Enter")
        await expect(zoe.page.get_by_role("alert")).to_contain_text("This is not a token")
        await token.fill(token_for("zoe", name="Zoë"))
        await token.press("Enter")
        await zoe.write("first ")
        await expect(zoe.status).to_have_text("Saved")

        async with server.http(token_for("boss", role="owner")) as http:
            answer = await http.post("/api/revocations", json={"subject": "zoe"})
            assert answer.status_code == 204
        await expect(zoe.status).to_have_text("Signed out")
        await expect(zoe.banner).to_contain_text("Your sign-in has ended.")
        await zoe.page.get_by_role("button", name="Sign in again").click()
        await asyncio.sleep(1.1)  # a token says the second in which it was issued
        await token.fill(token_for("zoe", name="Zoë"))
        await token.press("Enter")
        await zoe.write("second")
        await expect(zoe.status).to_have_text("Saved")
        assert await zoe.lines() == "first second"


async def test_a_guest_is_told_that_they_may_not_open_it(office: Office, tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        guest = await office.window(f"{server.url}/#text/a")
        await guest.page.get_by_label("Token").fill(token_for("gus", role="guest"))
        await guest.page.keyboard.press("Enter")
        await expect(guest.status).to_have_text("No access")
        await expect(guest.banner).to_contain_text("Ask an owner for access")


async def test_without_its_libraries_the_page_says_how_to_build_them(office: Office, demo: ServerProcess) -> None:
    window = await office.window("about:blank")
    await window.page.route("**/vendor/*", lambda route: route.fulfill(status=404))
    await window.page.goto(demo.url)
    await expect(window.page.get_by_role("main")).to_contain_text("make setup")


async def while_database_is_locked(data: Path, work: Callable[[], Awaitable[None]]) -> None:
    """Do something while nobody else can write to the server's database."""
    database = sqlite3.connect(data / "quorate.db", isolation_level=None, timeout=10)
    try:
        database.execute("BEGIN EXCLUSIVE")
        await work()
        database.execute("ROLLBACK")
    finally:
        database.close()


def require_chromium() -> str:
    """Return the path of the system's Chromium when the page is built; else skip, or fail in CI."""
    folder = web_folder()
    if folder is None or not (folder / "vendor" / "yjs.js").is_file():
        give_up("needs the libraries of clients/js-demo: make setup")
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return next(found, None) or give_up("needs Chromium, which is not on this machine")


def give_up(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
