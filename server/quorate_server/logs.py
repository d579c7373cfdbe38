"""Structured logs: a constant event name and key-values, as text for people or JSON for machines.

Never content, tokens or presence. One line when a connection opens and one when it ends.
"""

from __future__ import annotations

import json
import logging

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00 INFO quorate.server event key=value ...`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the traceback below it if there is one."""
        line, _, trace = super().format(record).partition("\n")
        pairs = " ".join(f"{key}={value!r}" for key, value in _extras(record).items())
        return "\n".join(part for part in (f"{line} {pairs}".rstrip(), trace) if part)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        entry: dict[str, object] = {
            "at": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def configure_logs(*, level: str, form: str) -> None:
    """Send all logs of the process to standard error in one form."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("quorate").setLevel(level.upper())
    # uvicorn logs a line for each request and socket; ours say more.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in record.__dict__.items() if k not in _STANDARD and k[0] != "_"}
