"""Compiles what a busy server does for each edit, where a C compiler is found; where none is, Python does it."""

from __future__ import annotations

import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "protocol/quorate_protocol"
SECONDS = 120


class Compile(BuildHookInterface[Any]):
    """Compiles into the source tree, which an editable installation runs from and a wheel is made of."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface
        """Compile; a wheel that holds what was compiled is for this platform only."""
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        target = f"{PACKAGE}/_speedups{suffix}"
        reason = compile_speedups(Path(self.root), Path(self.root, target))
        if reason:
            self.app.display_warning(f"quorate: not compiled, so edits cost a few times as much: {reason}")
            return
        build_data["artifacts"].append(target)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compile_speedups(root: Path, target: Path) -> str:
    """Compile into `target`; return why it could not be done, or nothing."""
    compiler = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    include = sysconfig.get_path("include")
    source = root / PACKAGE / "_speedups.c"
    unfinished = target.with_suffix(".part")
    command = [*compiler, "-O2", "-fPIC", f"-I{include}", str(source), "-o", str(unfinished)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return done.stderr.strip()[-500:]
    unfinished.replace(target)  # at once: a server that starts meanwhile must not load half of it
    return ""
