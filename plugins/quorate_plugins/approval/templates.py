"""The twelve types of requests as Quorate ships them: what each asks for, who decides, and until when.

They name roles of the directory (`steward`, `security`, `owner_of:subject`, ...), and a published policy may say
otherwise for any of them. Nothing here is approved because nobody answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from quorate_plugins.approval.ladders import Ladder, Level
from quorate_plugins.approval.policies import FieldRule, Policy, Template
from quorate_plugins.approval.stages import Requirement, Stage, StepUp, Threshold

_LADDER: Final = Ladder(
    levels=(
        Level(after="1d", add=("manager_of:requester",)),
        Level(after="1d", add=("role:governance_lead",)),
    )
)
_SIGNED: Final = StepUp(max_age_seconds=300)


def _text(summary: str, *, is_required: bool = True, options: tuple[str, ...] = ()) -> FieldRule:
    return FieldRule(summary=summary, is_required=is_required, options=options)


def _stage(
    key: str,
    title: str,
    *pools: str,
    needs: tuple[str, ...] = (),
    count: int = 1,
    due: str = "3d",
    step_up: StepUp | None = None,
) -> Stage:
    """Return a stage that wants so many of each of some pools."""
    requirements = tuple(
        Requirement(id=pool.replace(":", "_"), pool=(pool,), approve=Threshold(count=count), step_up=step_up)
        for pool in pools
    )
    return Stage(id=key, title=title, needs=needs, requirements=requirements, due=due, remind="1d", ladder=_LADDER)


def _template(
    title: str,
    fields: Mapping[str, FieldRule],
    *stages: Stage,
    deadline: str = "14d",
    risk: str = "medium",
    executor: Literal["grant", "revoke", "publish", "external"] = "external",
) -> Template:
    return Template(title=title, fields=fields, stages=stages, deadline=deadline, risk=risk, executor=executor)


_OWNER: Final = _stage("owner", "The owner of the subject", "owner_of:subject")
_STEWARD: Final = _stage("steward", "A data steward", "role:steward")
_SECURITY: Final = _stage("security", "Security", "role:security", needs=("steward",))

TEMPLATES: Final[Mapping[str, Template]] = {
    "data_source_creation": _template(
        "Connect a data source",
        {"source": _text("What is connected."), "purpose": _text("What for.")},
        _STEWARD,
        _SECURITY,
    ),
    "data_source_modification": _template(
        "Change a data source", {"change": _text("What is changed.")}, _OWNER, _STEWARD
    ),
    "data_source_deletion": _template(
        "Delete a data source",
        {"retention": _text("What becomes of what it holds.")},
        _OWNER,
        _stage("steward", "Two data stewards", "role:steward", needs=("owner",), count=2),
        risk="high",
    ),
    "schema_change": _template(
        "Change a schema",
        {
            "change": _text("The change, as DDL or in words."),
            "is_breaking": FieldRule(type="boolean", summary="Whether readers must change."),
            "rollback": _text("How it is taken back.", is_required=False),
        },
        _STEWARD,
        _SECURITY,
    ),
    "access_grant": _template(
        "Give access",
        {
            "principal": _text("To whom: `user:ID` or `group:NAME`."),
            "role": _text("Which role in the subject.", options=("viewer", "commenter", "reviewer", "editor", "owner")),
        },
        _OWNER,
        deadline="7d",
        executor="grant",
    ),
    "access_revoke": _template(
        "Take access away",
        {"principal": _text("From whom: `user:ID` or `group:NAME`.")},
        _OWNER,
        deadline="3d",
        risk="low",
        executor="revoke",
    ),
    "policy_change": _template(
        "Change a policy of approvals",
        {"effect": _text("What will be different.", is_required=False)},
        _stage("governance", "Two of governance", "role:governance_lead", count=2),
        risk="high",
        executor="publish",
    ),
    "workflow_deployment": _template(
        "Deploy a workflow",
        {"version": _text("Which version."), "environment": _text("Where to.")},
        _STEWARD,
    ),
    "configuration_change": _template(
        "Change a configuration", {"change": _text("What is changed.")}, _OWNER, deadline="7d"
    ),
    "security_exception": _template(
        "Make an exception from security",
        {"control": _text("Which control."), "mitigation": _text("What is done instead.")},
        _STEWARD,
        _stage("security", "Two of security", "role:security", needs=("steward",), count=2, step_up=_SIGNED),
        risk="high",
    ),
    "compliance_override": _template(
        "Override a rule of compliance",
        {"rule": _text("Which rule."), "necessity": _text("Why it cannot be kept.")},
        _STEWARD,
        _stage("security", "Security", "role:security", needs=("steward",), step_up=_SIGNED),
        _stage("compliance", "Two of compliance", "role:compliance", needs=("security",), count=2, step_up=_SIGNED),
        risk="critical",
    ),
    "custom": _template("Something else", {}, _STEWARD),
}
"""The templates by type."""

DEFAULTS: Final = Policy(templates=TEMPLATES)
"""What holds where nothing is published."""
