"""What each alarm has told one target so far: the messages that a later one refers to."""

from collections import OrderedDict
from typing import Final, NamedTuple

from afstand.limits import NOTIFY_THREAD_MESSAGES_MAX, NOTIFY_THREADS_MAX


class Told(NamedTuple):
    """One message that went, or is going, to the target."""

    key: str
    at_ms: int


class Threads:
    """Of one target: per alarm its messages in order of sending.

    A memory of this process. After a restart an update may refer to nothing; the incident id that
    every message carries still holds them together.
    """

    def __init__(
        self,
        threads_max: int = NOTIFY_THREADS_MAX,
        messages_max: int = NOTIFY_THREAD_MESSAGES_MAX,
    ) -> None:
        self._threads_max: Final = threads_max
        self._messages_max: Final = messages_max
        self._threads: OrderedDict[str, list[Told]] = OrderedDict()

    def before(self, alarm_id: str, key: str, at_ms: int) -> tuple[Told, ...]:
        """Give what went before the message `key` of this alarm, and remember that it goes.

        The same key gets the same answer each time it is tried: references do not change between
        attempts. Of a long thread the first message stays, for it is the one that all belong to.
        """
        thread = self._threads.setdefault(alarm_id, [])
        self._threads.move_to_end(alarm_id)
        while len(self._threads) > self._threads_max:
            self._threads.popitem(last=False)
        for place, told in enumerate(thread):
            if told.key == key:
                return tuple(thread[:place])
        earlier = tuple(thread)
        thread.append(Told(key, at_ms))
        if len(thread) > self._messages_max:
            del thread[1]
        return earlier
