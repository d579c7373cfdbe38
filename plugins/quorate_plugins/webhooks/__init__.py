"""Webhooks: the change feed, posted to other systems as Standard Webhooks."""

from quorate_plugins.webhooks.engine import Webhooks

__all__ = ["Webhooks"]
