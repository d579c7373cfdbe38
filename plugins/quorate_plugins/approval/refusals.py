"""Why a decision, or another command about an approval, is refused; one class each, with what a client can act on."""

from __future__ import annotations

from typing import ClassVar

from quorate_server.hooks import Refused


class AlreadyResolved(Refused):
    """Nobody decides any more. Details: `outcome`, `by`, `at`."""

    code: ClassVar[str] = "already-resolved"
    status: ClassVar[int] = 409


class DeadlinePassed(Refused):
    """It came after the stage, or the request, was due. Details: `due_at`."""

    code: ClassVar[str] = "deadline-passed"
    status: ClassVar[int] = 410


class StageNotActive(Refused):
    """The stage is not open for decisions. Details: `active`, the ids of the stages that are."""

    code: ClassVar[str] = "stage-not-active"
    status: ClassVar[int] = 409


class DelegationInvalid(Refused):
    """Nobody may decide in that person's name, or not so. Details: `why`."""

    code: ClassVar[str] = "delegation-invalid"


class DutiesNotSeparate(Refused):
    """Whoever asked for it, profits from it, or wrote it, does not decide on it."""

    code: ClassVar[str] = "sod-violation"


class NotEligible(Refused):
    """They are in none of the pools."""

    code: ClassVar[str] = "not-eligible"


class StaleView(Refused):
    """What they saw is not what is there now. Details: `current`, the content hash, and `diff` by part."""

    code: ClassVar[str] = "stale-view"
    status: ClassVar[int] = 409


class StepUpRequired(Refused):
    """They must sign in again, or more strongly, first. Details: `acr`, `max_age_seconds`."""

    code: ClassVar[str] = "step-up-required"
    status: ClassVar[int] = 401


class ReasonRequired(Refused):
    """They must say why."""

    code: ClassVar[str] = "reason-required"
    status: ClassVar[int] = 422


class ContentIncomplete(Refused):
    """What the template asks for is missing. Details: `missing` and `wrong`, by field."""

    code: ClassVar[str] = "content-incomplete"
    status: ClassVar[int] = 422
