"""The web client's own checks: its types, and its tests of what is not the DOM."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.system.servers import ServerProcess

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "js-demo"


@pytest.mark.parametrize("script", ["check", "test"])
def test_the_web_client_passes_its_own_checks(script: str) -> None:
    if not (CLIENT / "node_modules").is_dir():
        reason = "needs the packages of clients/js-demo: make setup"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [ROOT / "tools" / "node.sh", "npm", "run", "--silent", script],
        cwd=CLIENT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


async def test_the_page_is_served_fresh_and_without_what_it_is_made_with(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, options=("--open",)) as server, server.http() as http:
        page = await http.get("/")
        assert page.status_code == 200
        assert page.headers["cache-control"] == "no-cache"
        assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert (await http.get("/tests/page.test.js")).status_code == 404
        assert (await http.get("/node_modules/yjs/package.json")).status_code == 404
        unchanged = await http.get("/app.js", headers={"If-None-Match": (await http.get("/app.js")).headers["etag"]})
        assert unchanged.status_code == 304
