"""`SharedAnswers`: what many clients lack that ask for the same at the same time, encoded once."""

from __future__ import annotations

from quorate_server.documents import LiveDocument


class SharedAnswers:
    """Keeps the last answer for as long as it is right: a restart or a deploy has everybody ask at once."""

    __slots__ = ("_answer", "_question")

    def __init__(self) -> None:
        self._question: tuple[int, int, bytes] | None = None
        self._answer = b""

    def missing_from(self, live: LiveDocument, state_vector: bytes) -> bytes:
        """See `LiveDocument.missing_from`.

        Raises:
            MalformedUpdate: `state_vector` is none.
        """
        question = live.serial, live.version, state_vector
        if question != self._question:
            self._answer = live.missing_from(state_vector)
            self._question = question
        return self._answer
