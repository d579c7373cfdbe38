"""What the package offers is what its modules define."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import quorate_storage
from quorate_storage import (
    compaction,
    errors,
    fabric,
    journal,
    leases,
    memory,
    redis_fabric,
    sql,
    stores,
)

PARTS_OF_A_FABRIC = {"Inbox", "Numbering"}
MODULES = [compaction, errors, fabric, journal, leases, memory, redis_fabric, sql, stores]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_names_are_exported(module: ModuleType) -> None:
    """Every public class and function of these modules is offered by the package."""
    defined = {
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
    }

    assert defined - PARTS_OF_A_FABRIC <= set(quorate_storage.__all__)


def test_the_list_is_sorted_and_true() -> None:
    """Each listed name exists, and the list is in order."""
    assert list(quorate_storage.__all__) == sorted(quorate_storage.__all__)
    for name in quorate_storage.__all__:
        assert hasattr(quorate_storage, name)
