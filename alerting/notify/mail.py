"""E-mail by a submission server: for what can wait, and beside what cannot.

One connection per message: a mailbox gets few, and a kept connection is one more thing that may be
dead when it is needed. A copy has the same Message-ID, so that mailboxes show it once.
"""

import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final
from urllib.parse import quote

import aiosmtplib

from alerting.book.types import Notice, Priority
from alerting.notify.delivery import Delivery, Outcome, OutcomeStatus, RenderError
from alerting.notify.settings import MailTarget
from alerting.notify.texts import headline, mail_text
from alerting.notify.webhook import error_text, plain_text

_PERMANENT: Final = 500
"""Replies from here on say that the same message would be refused again (RFC 5321, 4.2.1)."""
_SUBJECT_CHARACTERS_MAX: Final = 200


class MailChannel:
    """Reaches the mailboxes of one target."""

    def __init__(self, target: MailTarget, tls: ssl.SSLContext | None) -> None:
        self._target = target
        self._tls = tls

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:  # noqa: ARG002 - of the protocol
        """Make one attempt; RenderError for what is no notice."""
        message = self.render(delivery)
        target = self._target
        try:
            refused, _ = await aiosmtplib.send(
                message,
                sender=target.sender,
                recipients=list(target.recipients),
                hostname=target.host,
                port=target.port,
                username=target.username,
                password=target.password,
                use_tls=target.security == "tls",
                start_tls=target.security == "starttls",
                tls_context=self._tls,
                timeout=target.lane.timeout_ms / 1000,
            )
        except aiosmtplib.SMTPAuthenticationError as error:
            # Whoever is not let in now may be after the password was put right: not the message's.
            return _again(error)
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [one.code for one in error.recipients]
            return _judged(min(codes, default=0), error)
        except aiosmtplib.SMTPResponseException as error:
            return _judged(error.code, error)
        except (aiosmtplib.SMTPException, OSError) as error:
            return _again(error)
        if refused:
            detail = f"{len(refused)} of {len(target.recipients)} mailboxes refused"
            return Outcome(status=OutcomeStatus.DELIVERED, detail=detail)
        return Outcome(status=OutcomeStatus.DELIVERED, detail="smtp-250")

    def render(self, delivery: Delivery) -> EmailMessage:
        """Give the message; RenderError for what is no notice."""
        notice, target = delivery.body, self._target
        if not isinstance(notice, Notice):
            msg = "a mailbox takes notices, not commands"
            raise RenderError(msg)
        domain = target.sender.rpartition("@")[2]
        try:
            at = datetime.fromtimestamp(notice.at_ms // 1000, UTC)
        except (OverflowError, OSError, ValueError) as error:
            raise RenderError(error_text(error)) from error
        message = EmailMessage(policy=SMTP)
        message["From"] = target.sender
        message["To"] = ", ".join(target.recipients)
        message["Subject"] = plain_text(
            f"{headline(notice, target.language)} - {notice.incident_id}", _SUBJECT_CHARACTERS_MAX
        )
        message["Date"] = at
        message["Message-ID"] = f"<afstand-{delivery.key}@{domain}>"
        # One thread per incident: the name of a message that never was, which RFC 5322 allows.
        message["References"] = f"<afstand-{quote(notice.incident_id, safe='')}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence answers this
        if notice.priority is Priority.CRITICAL:
            message["Importance"] = "high"
        text = mail_text(notice, target.language, target.data_url)
        message.set_content(text, cte="quoted-printable")  # whatever a server on the way can do
        return message


def _judged(code: int, error: Exception) -> Outcome:
    if code >= _PERMANENT:
        return Outcome(status=OutcomeStatus.REFUSED, detail=error_text(error))
    return _again(error)


def _again(error: Exception) -> Outcome:
    return Outcome(status=OutcomeStatus.RETRY, detail=error_text(error), reached_target=False)
