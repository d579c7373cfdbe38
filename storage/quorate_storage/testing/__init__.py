"""What every store and every fabric must do, as tests that anybody can run on theirs.

    from quorate_storage.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self):
            async with MyStore(...) as store:
                yield store

Each test gets a store that is empty. The tests are coroutines: run pytest with pytest-asyncio in
its "auto" mode. `FabricContract` is used likewise, with a fixture `connect`.
"""

from __future__ import annotations

from quorate_storage.testing.act_contract import ActContract
from quorate_storage.testing.catalogue_contract import CatalogueContract
from quorate_storage.testing.fabric_contract import Connect, FabricContract
from quorate_storage.testing.lease_contract import LeaseContract
from quorate_storage.testing.log_contract import LogContract
from quorate_storage.testing.version_contract import VersionContract

__all__ = [
    "ActContract",
    "CatalogueContract",
    "Connect",
    "FabricContract",
    "LeaseContract",
    "LogContract",
    "StoreContract",
    "VersionContract",
]


class StoreContract(CatalogueContract, LogContract, VersionContract, LeaseContract, ActContract):
    """All that a store must do. A subclass adds the fixture `store`."""
