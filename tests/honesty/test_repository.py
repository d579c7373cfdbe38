"""What the repository says of itself is true: commands, links, exports, pins, and what no file may hold."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_table_has_a_head(page: Path) -> None:
    """Rows behind an empty line are no table: a reader would see bars."""
    lines = page.read_text("utf-8").splitlines()
    begins = [at for at, line in enumerate(lines) if line.startswith("|") and not lines[at - 1].startswith("|")]
    assert [lines[at] for at in begins if not lines[at + 1].startswith("|---")] == []


def test_what_the_requirements_name_exists() -> None:
    page = (ROOT / "seeds" / "REQUIREMENTS.md").read_text("utf-8")
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`([^`\s]+)`", page)
    assert len(named) > 40
    for name in named:
        if name.startswith("test_"):
            assert f"def {name}(" in sources, name
        elif "/" in name and not name.startswith("/"):
            assert (ROOT / name).exists(), name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 120


def test_every_command_that_the_readme_names_exists() -> None:
    from quorate_server.cli import quorate  # noqa: PLC0415

    readme = (ROOT / "README.md").read_text("utf-8")
    for command in re.findall(r"^quorate (\w+)", readme, re.MULTILINE):
        assert quorate.get_command(click.Context(quorate), command) is not None
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", readme)) - {"make"} <= targets


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    forbidden = re.compile(r"registry\.npm" + r"js|pypi\.o" + r"rg|pythonh" + r"osted|/tmp/b" + r"ash|/ho" + r"me/")
    for path in tracked():
        if path.suffix in {".png", ".svg"}:
            continue
        found = forbidden.search(path.read_text("utf-8", errors="replace"))
        assert found is None, f"{path.relative_to(ROOT)} holds {found and found.group()}"


def test_lock_files_hold_no_address() -> None:
    for path in tracked():
        if path.name == "package-lock.json":
            assert '"resolved"' not in path.read_text("utf-8"), path


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + [d for group in project["optional-dependencies"].values() for d in group]
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in pins()}
    for requirement in wanted:
        name = re.split(r"[\[;<>= ]", requirement)[0].lower().replace("_", "-")
        assert name in pinned, f"{name} is not in constraints.txt"


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+-]+", line) for line in lines)
    return lines


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## Unreleased" in changelog or f"## {version}" in changelog


@pytest.mark.parametrize("package", ["quorate_protocol", "quorate_storage"])
def test_what_a_package_exports_exists(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    for name in module.__all__:
        assert hasattr(module, name)


def test_markdown_sources_hold_one_sentence_a_line() -> None:
    for page in PAGES:
        in_code = False
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
            in_code ^= line.startswith("```")
            if in_code or line.startswith(("|", "#", "<", "!")):
                continue
            sentences = re.findall(r"[a-z)`]\. [A-Z]", line)
            assert len(sentences) <= 1, f"{page.name}:{number} holds several sentences"


def test_every_module_of_the_server_but_hooks_is_closed_to_plugins() -> None:
    """The import contract names them one by one: a new module must not be forgotten."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [named] = [contract["protected_modules"] for contract in contracts if contract["type"] == "protected"]
    modules = {path.stem for path in (ROOT / "server" / "quorate_server").glob("*.py")}
    assert {name.rpartition(".")[2] for name in named} == modules - {"__init__", "__main__", "hooks"}
