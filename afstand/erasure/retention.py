"""What is kept how long, as data: `retention.json`, or a file of the site's own in its place.

The terms of the shipped file are a proposal for whoever answers for the data. A file is checked
whole: all categories, no others, each with a term.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

FORMAT: Final = "afstand.retention/1"
SHIPPED: Final = Path(__file__).with_name("retention.json")
POSITIONS: Final = "positions"
RECORDS: Final = "records"
LIVE: Final = "live"
CONSULTATIONS: Final = "consultations"
QUARANTINE: Final = "quarantine"
PROOFS: Final = "proofs"
CATEGORIES: Final = (POSITIONS, RECORDS, LIVE, CONSULTATIONS, QUARANTINE, PROOFS)
DAY_MS: Final = 86_400_000

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


class RetentionError(ValueError):
    """A file that says not what is kept how long; the message is safe to show."""


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One category: what it is, on which ground, for how long, from when, and what ends it."""

    id: str
    what: Text
    where: Literal["archive", "store"]
    legal_ground: Text
    begins: Literal["end-of-case", "entry"]
    term_days: Annotated[int, msgspec.Meta(ge=1, le=36_525)]
    ended_by: Text

    @property
    def term_ms(self) -> int:
        """The term in milliseconds."""
        return self.term_days * DAY_MS


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All categories."""

    format: str
    version: str
    categories: tuple[Category, ...]

    def of(self, category: str) -> Category:
        """Return one by its name."""
        return next(one for one in self.categories if one.id == category)


def read_retention(path: Path | None = None) -> Retention:
    """Return what a file says, the shipped one when none is named. Raises RetentionError."""
    path = path or SHIPPED
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Retention)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RetentionError(f"{path}: {error}") from None
    if found.format != FORMAT:
        raise RetentionError(f"{path}: format {found.format}; this program reads {FORMAT}")
    names = [one.id for one in found.categories]
    if sorted(names) != sorted(CATEGORIES):
        raise RetentionError(f"{path}: categories {', '.join(names)}; wanted once each: "
                             f"{', '.join(CATEGORIES)}")  # fmt: skip
    for one in found.categories:
        ours = one.id in (POSITIONS, RECORDS)
        if ours != (one.begins == "end-of-case"):
            raise RetentionError(f"{path}: {one.id} cannot begin with {one.begins}")
    return found
