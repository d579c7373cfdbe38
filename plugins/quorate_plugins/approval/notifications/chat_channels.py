"""Getting a notice to somebody in a chat: Slack, or Microsoft Teams."""

from __future__ import annotations

import re
from typing import ClassVar, cast
from urllib.parse import urlencode

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.notifications.cards import slack_blocks, teams_card
from quorate_plugins.approval.notifications.encoding import encode
from quorate_plugins.approval.notifications.messages import Notice
from quorate_plugins.approval.notifications.posting import (
    JSON_TYPE,
    PROVIDER_ID,
    RETRY_SECONDS,
    Answer,
    Poster,
    check_answer,
    checked_secret,
    checked_url,
    is_refusal,
    retry_after,
)
from quorate_plugins.approval.notifications.sending import Sent, Unreachable
from quorate_plugins.approval.notifications.texts import Templates
from quorate_server.hooks import GiveUp, TryAgain

SLACK_URL = "https://slack.com/api"
MAX_REMEMBERED = 10_000
"""How many people's Slack ids are kept."""

_SLACK_TEMPORARY = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org", "accesslimited"}
)
_SLACK_LIMITED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
_SLACK_STRANGERS = frozenset({"users_not_found", "user_not_found", "user_disabled", "channel_not_found"})
_SLACK_UNCHANGEABLE = frozenset(
    {"message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found", "is_inactive"}
)
_SLACK_MESSAGE = re.compile(r"([A-Z0-9]{2,40}):([0-9]{1,20}\.[0-9]{1,20})", re.ASCII)
_SLACK_ERROR = re.compile(r"[a-z_]{1,60}", re.ASCII)


class SlackChannel:
    """Writes to people in Slack as a bot, and changes what it wrote. People are found by their e-mail address."""

    name: ClassVar[str] = "slack"

    def __init__(
        self, poster: Poster, *, token: str, base_url: str = SLACK_URL, templates: Templates | None = None
    ) -> None:
        """Take the bot's token, which needs the scopes `chat:write` and `users:read.email`.

        Raises:
            ValueError: the token cannot be sent, or the URL is none.
        """
        self._poster = poster
        self._token = checked_secret("a Slack token", token)
        self._base_url = checked_url(base_url).rstrip("/")
        self._templates = templates
        self._ids: dict[str, str] = {}

    async def send(self, notice: Notice, recipient: Person, earlier: str | None) -> Sent:
        """Change an earlier message, or write one if there is none that can be changed. See `Channel.send`."""
        message = slack_blocks(notice, zone=recipient.zone, templates=self._templates)
        found = _SLACK_MESSAGE.fullmatch(earlier or "")
        if found is not None:
            answer = await self._call("chat.update", encode({**message, "channel": found[1], "ts": found[2]}))
            if _slack_error(answer) not in _SLACK_UNCHANGEABLE:
                self._check(answer)
                return Sent(channel=self.name, message_id=found[0], state="updated")
        user = await self._id_of(recipient)
        answer = await self._call("chat.postMessage", encode({**message, "channel": user, "unfurl_links": False}))
        if _slack_error(answer) in _SLACK_STRANGERS:
            self._ids.pop(recipient.email, None)
        self._check(answer)
        written = f"{answer.text('channel')}:{answer.text('ts')}"
        return Sent(channel=self.name, message_id=written if _SLACK_MESSAGE.fullmatch(written) else "")

    async def _id_of(self, recipient: Person) -> str:
        if not recipient.email:
            raise Unreachable("slack: no e-mail address to find them by")
        known = self._ids.get(recipient.email)
        if known is not None:
            return known
        form = urlencode({"email": recipient.email}, errors="replace").encode()
        answer = await self._call("users.lookupByEmail", form, content_type="application/x-www-form-urlencoded")
        self._check(answer)
        found = _user_id(answer)
        if len(self._ids) >= MAX_REMEMBERED:
            self._ids.clear()
        self._ids[recipient.email] = found
        return found

    async def _call(self, method: str, body: bytes, *, content_type: str = f"{JSON_TYPE}; charset=utf-8") -> Answer:
        headers = {"authorization": f"Bearer {self._token}", "content-type": content_type}
        answer = await self._poster.post(self.name, f"{self._base_url}/{method}", body, headers)
        check_answer(self.name, answer, self._poster.now(), gives_up_at=is_refusal)
        return answer

    def _check(self, answer: Answer) -> None:
        """Check that Slack did what it was asked to: its answers have the status 200 either way."""
        error = _slack_error(answer)
        if not error:
            return
        reason = f"slack: {error}"
        if error in _SLACK_STRANGERS:
            raise Unreachable(reason)
        if error in _SLACK_LIMITED:
            asked = retry_after(answer.headers, self._poster.now())
            raise TryAgain(asked or RETRY_SECONDS, reason, is_attempt=False)
        if error in _SLACK_TEMPORARY:
            raise TryAgain(RETRY_SECONDS, reason)
        raise GiveUp(reason)


def _user_id(answer: Answer) -> str:
    user = answer.fields().get("user")
    found = cast("dict[str, object]", user).get("id") if isinstance(user, dict) else None
    if not isinstance(found, str) or not PROVIDER_ID.fullmatch(found):
        raise TryAgain(RETRY_SECONDS, "slack: an answer that cannot be understood")
    return found


def _slack_error(answer: Answer) -> str:
    """Return the code of an error, empty if there is none; what cannot be read is one that passes."""
    fields = answer.fields()
    if fields.get("ok") is True:
        return ""
    if "ok" not in fields:
        return "service_unavailable"
    code = fields.get("error")
    return code if isinstance(code, str) and _SLACK_ERROR.fullmatch(code) else "unknown_error"


class _CardChannel:
    """Posts to one address that stands for a channel of a chat: whoever the recipient is, it goes there."""

    name: ClassVar[str]

    def __init__(self, poster: Poster, *, url: str, templates: Templates | None = None) -> None:
        """Take the address, which is a secret.

        Raises:
            ValueError: it is no URL.
        """
        self._poster = poster
        self._url = checked_url(url)
        self._templates = templates

    async def send(self, notice: Notice, recipient: Person, earlier: str | None) -> Sent:  # noqa: ARG002 - see below
        """Post a message; an earlier one cannot be changed, so this one follows it. See `Channel.send`."""
        body = encode(self._message(notice, recipient))
        answer = await self._poster.post(self.name, self._url, body, {"content-type": JSON_TYPE})
        check_answer(self.name, answer, self._poster.now(), gives_up_at=is_refusal)
        return Sent(channel=self.name, message_id="")

    def _message(self, notice: Notice, recipient: Person) -> dict[str, object]:
        raise NotImplementedError


class SlackWebhookChannel(_CardChannel):
    """Posts to a channel of Slack by an incoming webhook. Messages cannot be changed, and have no id."""

    name: ClassVar[str] = "slack"

    def _message(self, notice: Notice, recipient: Person) -> dict[str, object]:
        return slack_blocks(notice, zone=recipient.zone, templates=self._templates)


class TeamsChannel(_CardChannel):
    """Posts to Microsoft Teams by the webhook of a workflow. Messages cannot be changed, and have no id."""

    name: ClassVar[str] = "teams"

    def _message(self, notice: Notice, recipient: Person) -> dict[str, object]:
        return teams_card(notice, zone=recipient.zone, templates=self._templates)
