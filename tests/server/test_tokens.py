"""Tokens of an OpenID Connect issuer: real keys, a real key server, and the tricks that are played with them."""

from __future__ import annotations

import hmac
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from quorate_server.errors import NotAuthenticated, Unavailable
from quorate_server.settings import Settings
from quorate_server.tokens import ClaimChecks, JwksAuthenticator

ISSUER, AUDIENCE = "https://id.example", "quorate"
SETTINGS = Settings(jwks="set", issuer=ISSUER, audience=AUDIENCE)


@dataclass
class KeyServer:
    """An issuer's key endpoint on this machine."""

    keys: list[Any] = field(default_factory=list)
    requests: int = 0
    is_failing: bool = False
    url: str = ""


@pytest.fixture
def issuer() -> Iterator[KeyServer]:
    state = KeyServer(keys=[RSAKey.generate_key(2048, {"kid": "one"})])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            body = json.dumps(KeySet(state.keys).as_dict(private=False)).encode()
            self.send_response(500 if state.is_failing else 200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/keys"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def authenticator(issuer: KeyServer, clock: Clock | None = None) -> JwksAuthenticator:
    return JwksAuthenticator(issuer.url, ClaimChecks(SETTINGS), clock=clock or Clock())


def signed(key: Any, *, alg: str = "RS256", kid: str = "one", **changes: Any) -> str:
    claims = {"sub": "anna", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, "name": "Anna"}
    return jwt.encode({"alg": alg, "kid": kid}, claims | changes, key)


async def test_a_token_of_the_issuer_proves_its_subject(issuer: KeyServer) -> None:
    user = await authenticator(issuer).authenticate(signed(issuer.keys[0], groups=["stewards"], role="owner"))
    assert (user.id, user.name, user.role, user.groups) == ("anna", "Anna", "owner", frozenset({"stewards"}))


async def test_keys_are_fetched_once(issuer: KeyServer) -> None:
    known = authenticator(issuer)
    for _ in range(5):
        await known.authenticate(signed(issuer.keys[0]))
    assert issuer.requests == 1


async def test_a_new_key_is_fetched_when_it_is_first_used(issuer: KeyServer) -> None:
    clock = Clock()
    known = authenticator(issuer, clock)
    await known.authenticate(signed(issuer.keys[0]))
    rotated = ECKey.generate_key("P-256", {"kid": "two"})
    issuer.keys.append(rotated)
    clock.now += 60
    user = await known.authenticate(signed(rotated, alg="ES256", kid="two"))
    assert user.id == "anna"
    assert issuer.requests == 2


async def test_made_up_keys_are_no_flood_on_the_issuer(issuer: KeyServer) -> None:
    known = authenticator(issuer)
    stranger = RSAKey.generate_key(2048, {"kid": "stranger"})
    for _ in range(20):
        with pytest.raises(NotAuthenticated):
            await known.authenticate(signed(stranger, kid="stranger"))
    assert issuer.requests == 1


async def test_the_public_key_is_no_secret_to_sign_with(issuer: KeyServer) -> None:
    """The confusion of algorithms: HS256 with the public key's bytes as the secret."""
    public = issuer.keys[0].as_pem(private=False)
    head, body, _ = signed(issuer.keys[0]).split(".")
    head = urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').decode().rstrip("=")
    signature = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
    forged = f"{head}.{body}.{urlsafe_b64encode(signature).decode().rstrip('=')}"
    with pytest.raises(NotAuthenticated):
        await authenticator(issuer).authenticate(forged)


@pytest.mark.parametrize(
    "changes",
    [{"iss": "https://evil.example"}, {"aud": "payroll"}, {"exp": 1}, {"sub": ""}, {"sub": 7}, {"sub": "x" * 300},
     {"nbf": 4e9}, {"role": "emperor"}, {"role": ["owner"]}, {"groups": 7}, {"groups": [["stewards"]]}],
)  # fmt: skip
async def test_a_claim_that_is_wrong_is_refused(issuer: KeyServer, changes: dict[str, Any]) -> None:
    with pytest.raises(NotAuthenticated):
        await authenticator(issuer).authenticate(signed(issuer.keys[0], **changes))


async def test_an_issuer_that_is_down_is_no_reason_to_deny(issuer: KeyServer) -> None:
    issuer.is_failing = True
    with pytest.raises(Unavailable):
        await authenticator(issuer).authenticate(signed(issuer.keys[0]))


async def test_known_keys_outlive_an_issuer_that_is_down(issuer: KeyServer) -> None:
    clock = Clock()
    known = authenticator(issuer, clock)
    await known.authenticate(signed(issuer.keys[0]))
    issuer.is_failing = True
    clock.now += 100_000
    assert (await known.authenticate(signed(issuer.keys[0]))).id == "anna"


async def test_keys_can_come_from_a_file(issuer: KeyServer, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(KeySet(issuer.keys).as_dict(private=False)))
    known = JwksAuthenticator(str(file), ClaimChecks(SETTINGS))
    assert (await known.authenticate(signed(issuer.keys[0]))).id == "anna"
