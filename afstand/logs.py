"""Structured logs.

One JSON object a line on standard error; never a position, a name or a secret. That is not left to
whoever writes a log line: a field that is not in `FIELDS` is withheld, a text is cut, and of an
exception only its type and the lines it came through are told, for its message may hold what a
device sent.
"""

import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.typing import EventDict

from afstand.limits import LOG_TEXT_CHARACTERS_MAX

FIELDS: Final[dict[str, str]] = {
    "event": "what happened, always the same words",
    "level": "debug, info, warning or error",
    "timestamp": "UTC",
    "role": "the role of the process",
    "exception": "type of an exception and the lines it came through, newest first",
    "broken": "registered devices that cannot be used",
    "child": "a process that this one keeps running",
    "connection": "fixes or events: which connection to the broker",
    "detail": "which step, notice or entry is missing",
    "device": "id of a device, a pseudonym",
    "devices": "how many devices",
    "entry": "id of an entry of journal or outbox",
    "error": "what store, broker, disk or library said",
    "exit_code": "of a process",
    "key": "idempotency key: partition, entry, index",
    "last": "id of the last entry",
    "missing": "whether another replica's entry is missing, not different",
    "mqtt": "version of MQTT",
    "partition": "name of a partition",
    "partitions": "how many partitions",
    "path": "a file of ours",
    "port": "a TCP port of ours",
    "problem": "what store, broker, disk or library said",
    "reader": "name of a reader of the store",
    "reason": "an enumerated reason, or what a library said",
    "route": "which kind of request, without what stood in its place holders",
    "shared": "whether the broker shares the subscription",
    "spans": "how many spans of traces",
    "stream": "journal or outbox",
    "topic": "an MQTT topic, with the id of a device in it",
    "what": "which work",
    "why": "an enumerated reason",
}
"""Every field that a log line may have; docs/on-call/logs.md has the same list."""

WITHHELD: Final = "withheld"


def withhold(_: Any, __: str, event: EventDict) -> EventDict:
    """Keep what is known to hold nothing personal, and cut what is long."""
    for name, value in event.items():
        if name not in FIELDS:
            event[name] = WITHHELD
        elif isinstance(value, str) and len(value) > LOG_TEXT_CHARACTERS_MAX:
            event[name] = value[:LOG_TEXT_CHARACTERS_MAX] + "..."
    return event


def tell_exception(_: Any, __: str, event: EventDict) -> EventDict:
    """Put type and lines of an exception in place of its traceback, which may hold a position."""
    raised = event.pop("exc_info", None)
    if raised:
        error = raised if isinstance(raised, BaseException) else sys.exc_info()[1]
        if error is not None:
            event["exception"] = " < ".join([type(error).__name__, *_lines(error.__traceback__)])
    return event


def _lines(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[::-1]
    return ["/".join(Path(frame.filename).parts[-2:]) + f":{frame.lineno}" for frame in frames]


def configure(*, level: str = "info", role: str = "") -> None:
    """Set up structlog for this process. `level` is a name of the logging module, in lower case."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            tell_exception,
            withhold,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        # Logging is rare here, and a cached logger would keep a stream that was since replaced.
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    if role:
        structlog.contextvars.bind_contextvars(role=role)
