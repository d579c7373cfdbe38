"""Reminders: an artifact with a due date reminds its owners."""

from quorate_plugins.reminders.engine import Reminders

__all__ = ["Reminders"]
