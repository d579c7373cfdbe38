"""The approval engine: requests that people write together and decide on, and the record of who decided what."""

from quorate_plugins.approval.engine import Approvals

__all__ = ["Approvals"]
