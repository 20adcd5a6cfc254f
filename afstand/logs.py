"""Structured logs.

One JSON object a line on standard error; never a position, a name or a secret.
"""

import logging
import sys

import structlog


def configure(*, level: str = "info", role: str = "") -> None:
    """Set up structlog for this process. `level` is a name of the logging module, in lower case."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
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
