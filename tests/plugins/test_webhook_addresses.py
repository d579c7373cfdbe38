"""Where webhooks are not posted to, whatever a URL, a name or a resolver says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorate_plugins.webhooks import posting as webhooks_posting
from quorate_server.errors import Conflict
from tests.plugins.posting_houses import (
    ask,
    open_webhooks,
    publish,
    settled,
)
from tests.plugins.receivers import receiving


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
     "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2001:db8::1", "2001:0:1::1", "4000::1"],
)  # fmt: skip
def test_addresses_of_no_public_kind(address: str) -> None:
    assert not webhooks_posting.is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert webhooks_posting.is_public(address)


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/latest",
     "https://localhost/", "https://LOCALHOST./", "https://a.localhost:8443/", "https://db.internal/",
     "http://example.com/", "ftp://example.com/", "https://user:pw@example.com/", "https://@example.com/", "https:///x",
     "https://example.com:99999/", "https://exämple.com/", "https://example.com/\n", "nonsense", ""],
)  # fmt: skip
async def test_what_is_not_on_the_public_internet_is_refused_at_once(tmp_path: object, url: str) -> None:
    async with open_webhooks(tmp_path, allow_private=False) as house:
        with pytest.raises(Conflict):
            await ask(house, "create", url=url)


class Names:
    """A resolver: each name leads to the next of its addresses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.asked: list[str] = []
        self._addresses = list(addresses)
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", self.getaddrinfo, raising=False)

    async def getaddrinfo(self, host: object, port: object, **_: object) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name[0].isdigit():
            return [(2, 1, 6, "", (name, port))]
        self.asked.append(name)
        return [(2, 1, 6, "", (self._addresses.pop(0) if len(self._addresses) > 1 else self._addresses[0], port))]


async def test_a_name_that_leads_inside_is_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_webhooks(tmp_path, allow_private=False) as house:
        Names(monkeypatch, "10.0.0.7")
        with pytest.raises(Conflict, match=r"leads to 10\.0\.0\.7"):
            await ask(house, "create", url="https://intranet.example/")


async def test_a_name_that_leads_inside_later_is_not_followed(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it was added, private when it is posted to."""
    async with open_webhooks(tmp_path, allow_private=False) as house:
        names = Names(monkeypatch, "93.184.215.14", "127.0.0.1")
        await ask(house, "create", url="https://rebinding.example/")
        await publish(house, "thing.done")
        await settled(house, ("dead", 1, "rebinding.example leads to 127.0.0.1, which is not on the public internet"))
        assert names.asked == ["rebinding.example"] * 2


async def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is resolved once for a connection; what it would lead to next does not matter."""
    backend = webhooks_posting.CheckedBackend(allow_private=False)
    names = Names(monkeypatch, "93.184.215.14", "127.0.0.1")
    connected: list[str] = []

    async def connect_tcp(host: str, *_: object, **__: object) -> None:
        connected.append(host)

    monkeypatch.setattr(backend._backend, "connect_tcp", connect_tcp)
    await backend.connect_tcp("rebinding.example", 443)
    assert (connected, names.asked) == (["93.184.215.14"], ["rebinding.example"])


async def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        return [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("127.0.0.1", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    with pytest.raises(webhooks_posting.AddressRefused):
        await webhooks_posting.CheckedBackend(allow_private=False).checked_addresses("mixed.example", 443)


async def test_a_receiver_is_reached_by_the_next_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, webhooks_posting.Poster(allow_private=True) as poster:

        async def getaddrinfo(host: object, port: object, **__: object) -> list[Any]:
            found = ["127.0.0.2", "127.0.0.1"] if host == "two.example" else [str(host)]
            return [(2, 1, 6, "", (address, port)) for address in found]

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo, raising=False)
        answer = await poster.post(f"http://two.example:{receiver.port}/", b"{}", {})
        assert answer.status == 204
