"""Orders that wait for a second person: four eyes before an order counts.

Whoever proposes an order cannot approve it. A proposal says its order and its zones whole, so what
is approved is what was read. Pure: part of the state of the fold.
"""

from typing import NamedTuple

import msgspec

from afstand.commands import DecideOrder, ProposeOrder
from afstand.limits import CONSOLE_PROPOSALS_MAX
from alerting.book.types import RejectReason


class Proposed(msgspec.Struct, frozen=True, array_like=True):
    """A proposal that nobody has decided about."""

    proposal: ProposeOrder
    at_ms: int


class Refused(NamedTuple):
    """Why a proposal or a decision changes nothing."""

    reason: RejectReason
    detail: str


class Proposals:
    """The open proposals of one partition."""

    def __init__(self) -> None:
        self.open: dict[str, Proposed] = {}

    def propose(self, said: ProposeOrder, now_ms: int) -> Refused | None:
        """Keep a proposal; None when it was taken."""
        if not said.by:
            return Refused(RejectReason.NO_REASON_GIVEN, "by")
        if said.proposal_id in self.open:
            return Refused(RejectReason.DUPLICATE, said.proposal_id)
        if len(self.open) >= CONSOLE_PROPOSALS_MAX:
            return Refused(RejectReason.LIMIT, f"{CONSOLE_PROPOSALS_MAX} open proposals")
        wanted = [zone.id for zone in said.zones]
        if any(zone_id not in said.order.zone_ids for zone_id in wanted):
            return Refused(RejectReason.BAD_ORDER, "a zone that the order does not name")
        self.open[said.proposal_id] = Proposed(said, now_ms)
        return None

    def decide(self, said: DecideOrder) -> ProposeOrder | Refused | None:
        """End a proposal. Gives it when it is approved, None when it is declined."""
        found = self.open.get(said.proposal_id)
        if found is None:
            return Refused(RejectReason.BAD_COMMAND, f"no open proposal {said.proposal_id}")
        if not said.by:
            return Refused(RejectReason.NO_REASON_GIVEN, "by")
        if said.approved and said.by == found.proposal.by:
            detail = "four-eyes: whoever proposes an order cannot approve it"
            return Refused(RejectReason.BAD_COMMAND, detail)
        del self.open[said.proposal_id]
        return found.proposal if said.approved else None

    def dump(self) -> list[Proposed]:
        """All of it, oldest first."""
        return list(self.open.values())

    @classmethod
    def load(cls, dumped: list[Proposed]) -> "Proposals":
        """The reverse of `dump`."""
        proposals = cls()
        proposals.open = {one.proposal.proposal_id: one for one in dumped}
        return proposals
