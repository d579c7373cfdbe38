"""The package's top level says exactly what is public."""

import ast
import importlib
import inspect
import pkgutil

import quorate_protocol

_INNER = {"_speedups", "addresses", "bursts_in_python", "contents", "hocuspocus_frames", "stamping", "sync", "varints"}
"""Modules that others need not know; their names are public to the package only."""

_ONLY_CONNECTIONS = {
    "hocuspocus": {"HocuspocusConnection"},
    "y_websocket": {"YWebSocketConnection"},
}
"""Their encoders are named alike, and are used through the module."""


def _public_names(module: str) -> set[str]:
    loaded = importlib.import_module(f"quorate_protocol.{module}")
    names: set[str] = set()
    for node in ast.parse(inspect.getsource(loaded)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    type_variables = {"ConnectionKey"}
    return {name for name in names if not name.startswith("_")} - type_variables


def test_the_top_level_exports_what_the_modules_define() -> None:
    modules = {each.name for each in pkgutil.iter_modules(quorate_protocol.__path__)} - _INNER
    defined = set(_ONLY_CONNECTIONS)
    for module in modules:
        defined |= _ONLY_CONNECTIONS.get(module) or _public_names(module)

    assert defined == set(quorate_protocol.__all__)


def test_every_exported_name_exists_once() -> None:
    assert len(set(quorate_protocol.__all__)) == len(quorate_protocol.__all__)
    assert all(hasattr(quorate_protocol, name) for name in quorate_protocol.__all__)
