"""Settings: every knob of the server, its unit, its default and one line of help.

This is the only module that reads the environment. Order of precedence: command line, then
`QUORATE_...` variables, then `quorate.toml`, then the defaults written here.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_server.errors import SettingsError

ENVIRONMENT_PREFIX = "QUORATE_"
_NOT_SETTINGS = frozenset(
    {"QUORATE_FUZZ_CASES", "QUORATE_SOAK", "QUORATE_TEST_DATABASE", "QUORATE_TOKEN", "QUORATE_URL"}
)
"""Variables of the test suite, which runs the server with its own environment, and of the commands that ask one."""


T = TypeVar("T")


def setting(default: T, help_text: str) -> T:
    """Declare a field of `Settings` with its default and its line of help."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with safe defaults. Durations are seconds, sizes bytes."""

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8000, "TCP port to listen on; 0 takes a free one")
    data: str = setting("./data", "folder of the SQLite database")
    database: str = setting("", "database URL; empty means SQLite in the data folder")
    redis: str = setting("", "Redis URL, for the fabric between several server processes")
    secret: str = setting("", "HMAC secret that signs tokens, 32 characters or more")
    jwks: str = setting("", "URL or file of the JSON Web Key Set of an OpenID Connect issuer")
    issuer: str = setting("", "the `iss` that every token must carry")
    audience: str = setting("", "the `aud` that every token must carry")
    open: bool = setting(False, "everybody on this address is an editor (development only)")  # noqa: FBT003
    policies: str = setting("", "folder of further Cedar policies (*.cedar), re-read when it changes")
    seeds: str = setting("", "folder of sample documents that fill new documents of the same name")
    allowed_origins: str = setting("", "comma-separated web origins that may open sockets; empty: any")
    log_level: str = setting("info", "debug, info, warning or error")
    log_format: str = setting("text", "text or json")
    clock_leeway_seconds: float = setting(5.0, "clock difference to a token issuer that is forgiven")
    recheck_seconds: float = setting(2.0, "how often the rights of open connections are checked anew")
    store_failure_seconds: float = setting(10.0, "a database failing for longer closes sockets (1013)")
    drain_seconds: float = setting(10.0, "time to close all sockets after SIGTERM")
    lease_seconds: float = setting(15.0, "life of the right to write; a crashed owner delays by at most it")
    engines: str = setting("", "comma-separated names of the engines to run, in the order of their hooks; empty: all")
    trace_hooks: bool = setting(False, "log every call of an engine's hook and how it ended")  # noqa: FBT003
    audit_origin: str = setting("quorate", "name of the audit log in its checkpoints, such as a host name")
    audit_key: str = setting("", "file of the key that signs checkpoints; made if missing; empty: in the data folder")
    audit_checkpoints: str = setting("", "folder outside the database that checkpoints are published to")
    audit_checkpoint_seconds: float = setting(60.0, "how often a checkpoint of the audit log is signed")
    limits: Limits = DEFAULT_LIMITS
    engine_settings: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def database_url(self) -> str:
        """The database to use: the one given, or SQLite in the data folder."""
        return self.database or f"sqlite+aiosqlite:///{Path(self.data) / 'quorate.db'}"

    def check(self) -> None:
        """Refuse combinations that would start an unsafe or useless server.

        Raises:
            SettingsError: says what was expected, what came, and how to mend it.
        """
        ways = [name for name in ("secret", "jwks", "open") if getattr(self, name)]
        if not ways:
            raise SettingsError(
                "no way to know who people are: give --secret TEXT (or --jwks URL --issuer URL "
                "--audience TEXT), or --open to let everybody on this machine edit"
            )
        if len(ways) > 1:
            raise SettingsError(f"only one of --secret, --jwks and --open can be used, not {ways}")
        for is_broken, what in self._rules():
            if is_broken:
                raise SettingsError(what)

    def _rules(self) -> tuple[tuple[bool, str], ...]:
        return (
            (
                bool(self.secret) and len(self.secret) < MINIMUM_SECRET_CHARACTERS,
                f"--secret has {len(self.secret)} characters, {MINIMUM_SECRET_CHARACTERS} are needed",
            ),
            (
                bool(self.jwks) and not (self.issuer and self.audience),
                "--jwks needs --issuer and --audience: which tokens are for us",
            ),
            (
                bool(self.redis),
                "--redis is for several server processes, which this release cannot run yet: leave it out",
            ),
            (
                self.open and self.host not in LOOPBACK_HOSTS,
                f"--open lets everybody edit and so listens on loopback only, not on {self.host}",
            ),
        )


MINIMUM_SECRET_CHARACTERS = 32
"""RFC 7518 section 3.2: a key of the same size as the hash output (256 bits) or larger."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_LIMIT_NAMES = {f.name for f in dataclasses.fields(Limits)}
_SETTING_NAMES = {f.name for f in dataclasses.fields(Settings)} - {"limits", "engine_settings"}
_ENGINE_SETTING = "engine_"
"""What begins so belongs to an engine: `engine_webhooks_allow_private` is `allow_private` of `webhooks`."""


def load_settings(
    *,
    environment: Mapping[str, str],
    file: Path | None = None,
    given: Mapping[str, object] | None = None,
) -> Settings:
    """Merge the command line (`given`), the environment and `quorate.toml` into checked settings.

    Raises:
        SettingsError: an unknown name (the nearest right one is suggested) or a value of the wrong type.
    """
    values: dict[str, Any] = {}  # each was converted to the type of its field
    if file is not None and file.exists():
        values |= _named(tomllib.loads(file.read_text("utf-8")), source=str(file))
    values |= _named(_from_environment(environment), source="the environment")
    values |= {name: value for name, value in (given or {}).items() if value is not None}
    limits = _taken(values, lambda name: name in _LIMIT_NAMES)
    engines = _taken(values, lambda name: name.startswith(_ENGINE_SETTING))
    settings = Settings(
        **values,
        limits=dataclasses.replace(DEFAULT_LIMITS, **limits),
        engine_settings={name.removeprefix(_ENGINE_SETTING): value for name, value in engines.items()},
    )
    settings.check()
    return settings


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _NOT_SETTINGS
    }


def _taken(values: dict[str, Any], is_wanted: Callable[[str], bool]) -> dict[str, Any]:
    """Take what is wanted out of some values."""
    return {name: values.pop(name) for name in list(values) if is_wanted(name)}


def _named(raw: Mapping[str, object], *, source: str) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in raw.items():
        if name.startswith(_ENGINE_SETTING):
            values[name] = str(value)
            continue
        if name not in _SETTING_NAMES | _LIMIT_NAMES:
            near = difflib.get_close_matches(name, _SETTING_NAMES | _LIMIT_NAMES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"unknown setting {name!r} in {source}{hint}")
        default: object = getattr(DEFAULT_LIMITS if name in _LIMIT_NAMES else Settings(), name)
        values[name] = _converted(name, value, type(default))
    return values


def _converted(name: str, value: object, wanted: type) -> object:
    if isinstance(value, wanted):
        return value
    text = str(value).strip()
    try:
        if wanted is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        return wanted(text)
    except (KeyError, ValueError) as error:
        raise SettingsError(f"setting {name!r} must be a {wanted.__name__}, not {value!r}") from error
