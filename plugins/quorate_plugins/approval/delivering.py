"""Telling people outside the server: effects of the outbox that go out by the channels that somebody wants, in order.

What is told is asked for in the transaction of what it tells of. A channel that cannot reach somebody, or fails for
good, is followed by the next one; one that fails for now is tried again some times, and then followed by the next.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast
from urllib.parse import quote

from pydantic import TypeAdapter

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.metrics.deliveries import DeliveryMeter
from quorate_plugins.approval.notifications.messages import Notice
from quorate_plugins.approval.notifications.preferences import (
    Preferences,
    next_after_failure,
    plan,
    read_preferences,
)
from quorate_plugins.approval.notifications.sending import Channel, GatheringChannel, Unreachable
from quorate_plugins.approval.notifying import Telling, still_matters
from quorate_plugins.approval.requests import Request
from quorate_server.hooks import DocumentName, Effect, GiveUp, Server, TryAgain, Work

MOST_ATTEMPTS = 5
"""So often a channel that fails for now is tried before the next one is."""
KEY_CHARACTERS = 40
PAUSE_SECONDS = (10.0, 60.0, 300.0, 1800.0)

_NOTICE = TypeAdapter(Notice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a telling is about: the request, its artifact, its title, where it is decided, and people's names by id."""

    request: Request
    name: DocumentName
    title: str
    link: str
    names: Mapping[str, str]


def notice_of(telling: Telling, about: Subject) -> Notice:
    """Return what somebody is told."""
    request, decision = about.request, telling.decision
    by = decision.actor if decision else telling.by or request.resolved_by
    told = json.dumps([about.name, request.version, telling.stage, telling.person])
    return Notice(
        key=f"{telling.event}.{hashlib.sha256(told.encode()).hexdigest()[:KEY_CHARACTERS]}",
        event=telling.event,
        request=about.name,
        title=about.title,
        requester=about.names.get(request.requester, request.requester),
        link=about.link,
        revision=request.revision,
        type=request.type,
        risk=request.risk,
        priority=request.priority,
        by=about.names.get(by, by),
        on_behalf_of="" if decision is None or decision.actor == decision.principal else decision.principal,
        state=request.state,
        due_at=request.runs[telling.stage].due_at if telling.stage in request.runs else request.deadline_at,
    )


def _keep(values: Mapping[str, bytes | None], work: Work) -> None:
    """Keep the engine's values, or take those away that are None."""
    for key, value in values.items():
        work.put(key, value)


class Delivering:
    """The channels there are by the engine's settings, and what goes out by them."""

    def __init__(self, server: Server, channels: Mapping[str, Channel]) -> None:
        """Take the channels.

        Raises:
            ValueError: the setting `link` is no address that may stand in a message.
        """
        self.page = server.setting("link", "http://localhost:8000").rstrip("/")
        Notice(key="k", event="decided", request="approval/x", title="", requester="", link=self.link_to("approval/x"))
        self.server = server
        self.channels = channels
        self.preferences: dict[str, Preferences] = {}
        self.meter = DeliveryMeter(time.time())

    def link_to(self, name: str) -> str:
        """Return the address at which the web page shows a document."""
        return f"{self.page}/#{quote(name)}"

    async def load(self) -> None:
        """Read what people prefer."""
        for key, value in (await self.server.read_values("prefer/")).items():
            self.preferences[key.removeprefix("prefer/")] = read_preferences(json.loads(value))

    def preferences_of(self, person: str) -> Preferences:
        """Return what somebody prefers: in the application and by mail, if they say nothing."""
        return self.preferences.get(person, Preferences())

    def enqueue(self, work: Work, telling: Telling, recipient: Person, about: Subject) -> None:
        """Have somebody told: in the application at once, and by their channels when they want it."""
        notice = notice_of(telling, about)
        preferences = self.preferences_of(recipient.id)
        planned = plan(preferences, telling.event, about.request.priority, recipient.zone, work.now)
        told = cast("dict[str, object]", _NOTICE.dump_python(notice, mode="json"))
        place = f"notice/{quote(recipient.id, safe='')}/{int(work.now * 1000):015}/{notice.key}"
        work.put(place, json.dumps(told).encode())
        outside = [each for each in planned.channels if each in self.channels]
        if outside and planned.is_digest and planned.not_before > work.now:
            self._gather(work, notice.key, {"channels": outside, "notice": told}, recipient, planned.not_before)
        elif outside:
            payload = {"person": recipient.id, "channels": outside, "notice": told}
            work.effect(notice.key, payload, artifact=about.name, due_at=planned.not_before)

    @staticmethod
    def _gather(work: Work, key: str, told: Mapping[str, object], recipient: Person, due_at: float) -> None:
        """Have a notice wait for what else somebody is told at that time."""
        place = f"digest/{quote(recipient.id, safe='')}/{int(due_at):012}/"
        work.put(place + key, json.dumps(told).encode())
        digest = hashlib.sha256(place.encode()).hexdigest()[:KEY_CHARACTERS]
        work.effect(f"digest.{digest}", {"person": recipient.id, "digest": place}, due_at=due_at)

    async def deliver_digest(self, effect: Effect, recipient: Person | None, live: Mapping[str, Request]) -> None:
        """Tell somebody what was gathered for them, and still matters.

        Raises:
            TryAgain: it did not work, and may later.
            GiveUp: nobody was told: no channel reaches them.
        """
        place = str(effect.payload["digest"])
        gathered = await self.server.read_values(place)
        told = [cast("Mapping[str, object]", json.loads(value)) for value in gathered.values()]
        notices = [_NOTICE.validate_python(each["notice"]) for each in told]
        if recipient is not None and recipient.is_active:
            matter = [each for each in notices if still_matters(each.event, recipient.id, live.get(each.request))]
            wanted = cast("Sequence[str]", told[-1]["channels"]) if told else ()
            await self._tell_by_first(wanted, matter, recipient, effect)
        await self.server.transact(partial(_keep, dict.fromkeys(gathered)))

    async def deliver(self, effect: Effect, recipient: Person | None, request: Request | None) -> None:
        """Tell somebody something by the first of their channels that reaches them.

        Raises:
            TryAgain: it did not work, and may later.
            GiveUp: nobody was told: no channel reaches them.
        """
        notice = _NOTICE.validate_python(effect.payload["notice"])
        if recipient is None or not recipient.is_active:
            raise GiveUp("they are not in the directory any more")
        if not still_matters(notice.event, recipient.id, request):
            return
        await self._tell_by_first(cast("Sequence[str]", effect.payload["channels"]), [notice], recipient, effect)

    async def _tell_by_first(
        self, wanted: Sequence[str], notices: Sequence[Notice], recipient: Person, effect: Effect
    ) -> None:
        """Tell somebody by the first of some channels that reaches them."""
        if not notices:
            return
        name: str | None = wanted[0]
        reasons: list[str] = []
        while name is not None:
            following = next_after_failure(wanted, name)
            if await self._sent(name, notices, recipient, effect, reasons, is_last=following is None):
                return
            name = following
        raise GiveUp("; ".join(reasons) or "no channel is set up")

    async def _sent(
        self,
        name: str,
        notices: Sequence[Notice],
        recipient: Person,
        effect: Effect,
        reasons: list[str],
        *,
        is_last: bool,
    ) -> bool:
        """Whether a channel has told them; `reasons` gathers why others did not."""
        channel = self.channels.get(name)
        if channel is None:
            reasons.append(f"{name}: not set up")
            return False
        try:
            await self._send(channel, notices, recipient)
        except (Unreachable, GiveUp) as error:
            reasons.append(f"{name}: {error}")
            self.meter.note(name, "failed")
            return False
        except TryAgain as error:
            if effect.attempts >= MOST_ATTEMPTS and not is_last:
                reasons.append(f"{name}: {error.reason}")
                self.meter.note(name, "failed")
                return False
            self.meter.note(name, "put_off")
            pause = PAUSE_SECONDS[min(effect.attempts, len(PAUSE_SECONDS) - 1)]
            raise TryAgain(max(error.after_seconds, pause), error.reason, is_attempt=error.is_attempt) from error
        self.meter.note(name, "sent", time.time() - effect.due_at)
        return True

    async def _send(self, channel: Channel, notices: Sequence[Notice], recipient: Person) -> None:
        """Send notices: as one message where the channel can, or else each in the place of an earlier one about it."""
        if len(notices) > 1 and isinstance(channel, GatheringChannel):
            await channel.send_digest(notices, recipient)
            return
        for notice in notices:
            place = f"sent/{quote(notice.request, safe='')}/{recipient.id}/{channel.name}"
            earlier = (await self.server.read_values(place)).get(place)
            sent = await channel.send(notice, recipient, None if earlier is None else earlier.decode())
            await self.server.transact(partial(_keep, {place: sent.message_id.encode()}))
