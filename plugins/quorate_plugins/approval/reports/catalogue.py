"""The reports there are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from quorate_plugins.approval.reports.access import AccessGrants
from quorate_plugins.approval.reports.automatic import AutomaticDecisions
from quorate_plugins.approval.reports.data_subjects import DataSubject
from quorate_plugins.approval.reports.dismissals import StaleDismissals
from quorate_plugins.approval.reports.duties import SeparationOfDuties
from quorate_plugins.approval.reports.integrity import Integrity
from quorate_plugins.approval.reports.lateness import LateAndEscalated
from quorate_plugins.approval.reports.policy_history import PolicyHistory
from quorate_plugins.approval.reports.population import Population
from quorate_plugins.approval.reports.report import Report
from quorate_plugins.approval.reports.signatures import ElectronicSignatures

ReportName = Literal[
    "population",
    "separation_of_duties",
    "access_grants",
    "automatic_decisions",
    "late_and_escalated",
    "stale_dismissals",
    "e_signatures",
    "policy_history",
    "data_subject",
    "integrity",
]
_REPORTS: tuple[type[Report], ...] = (
    Population,
    SeparationOfDuties,
    AccessGrants,
    AutomaticDecisions,
    LateAndEscalated,
    StaleDismissals,
    ElectronicSignatures,
    PolicyHistory,
    DataSubject,
    Integrity,
)
REPORTS: Final[Mapping[str, type[Report]]] = MappingProxyType({each.name: each for each in _REPORTS})
"""The reports by name."""

assert set(REPORTS) == set(get_args(ReportName)), "a report that can be asked for is there"
