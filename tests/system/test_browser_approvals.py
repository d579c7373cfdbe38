"""Approval requests in a real browser: written together, submitted, decided, and where they stand, live."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.system.servers import ServerProcess
from tests.system.test_browser import Office, browser, demo, office

__all__ = ["browser", "demo", "office"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUEST = "approval/loyalty-tier"


async def test_a_request_is_written_together_submitted_and_decided(office: Office, demo: ServerProcess) -> None:
    jonas = await office.person(demo, "Jonas Weber", REQUEST)
    amara = await office.person(demo, "Amara Okafor", REQUEST)
    mei = await office.person(demo, "Mei Tanaka", REQUEST)
    states = [window.page.locator("#request-state") for window in (jonas, amara, mei)]
    for state in states:
        await expect(state).to_have_text("A draft: nobody was asked yet")

    change = amara.page.get_by_label(re.compile("^change:"))
    await expect(change).to_have_value(re.compile("loyalty_tier"))
    await jonas.page.get_by_label(re.compile("^change:")).fill("ALTER TABLE orders ADD COLUMN tier text")
    await jonas.page.keyboard.press("Tab")
    await expect(change).to_have_value("ALTER TABLE orders ADD COLUMN tier text")
    why = jonas.page.get_by_role("textbox", name="Why it is asked for")
    await why.focus()
    await jonas.page.keyboard.press("Control+End")
    await jonas.page.keyboard.insert_text(" See the board's minutes.")
    await expect(mei.page.get_by_role("textbox", name="Why it is asked for")).to_contain_text("the board's minutes")
    await expect(jonas.status).to_have_text("Saved")

    await jonas.page.get_by_role("button", name="Submit").click()
    for state in states:
        await expect(state).to_have_text("Waiting for decisions")
    await expect(jonas.page.get_by_role("button", name="Withdraw")).to_be_visible()
    await expect(mei.page.locator("#request-act")).to_be_hidden()

    await amara.page.get_by_role("button", name="Reject").click()
    await expect(amara.page.locator("#request-problem")).to_have_text("Say why, so that others understand it.")
    await amara.page.get_by_label("Reason").fill("Fine with me.")
    await amara.page.get_by_role("button", name="Approve").click()
    await expect(jonas.page.locator("#request-stages")).to_contain_text("Approved by amara")
    await mei.page.get_by_role("button", name="Approve").click()
    for state in states:
        await expect(state).to_have_text("Approved")
    for window in (jonas, amara, mei):
        assert (window.complaints, await window.violations()) == ([], [])


async def test_settings_of_a_configuration_are_shown(office: Office, demo: ServerProcess) -> None:
    amara = await office.person(demo, "Amara Okafor", "configuration/approvals")
    await expect(amara.page.locator("#settings-json")).to_contain_text("low-risk-reader")
    await amara.page.get_by_role("link", name="Glossary").click()
    await expect(amara.page.locator("#settings")).to_be_hidden()
    await expect(amara.text).to_be_visible()
