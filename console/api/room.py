"""The room: how it is doing, whether the service lives, shifts, and who looked at what."""

from typing import Annotated

import msgspec

from afstand.limits import BOOK_TEXT_CHARS_MAX, CONSOLE_LIST_MAX
from alerting.book.roles import Right
from console.api.commands import CommandView, send
from console.api.http import Answer, Call, Route
from console.api.problems import Code, Problem
from console.model.indicators import Indicators
from console.model.inputs import ShiftHandedOver
from console.model.rows import Place
from console.ports import KeptConsultation, PartHealth, UnavailableError

TILES_PATH = "/tiles/{z}/{x}/{y}"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the service as this console sees them."""

    now_ms: int
    caught_up: bool
    parts: tuple[PartHealth, ...]
    unreadable_outputs: int
    """Outputs of a later program that this console could not show."""


class ShiftBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who takes over, what was said, and about which incidents."""

    to: Name
    text: Annotated[str, msgspec.Meta(max_length=BOOK_TEXT_CHARS_MAX)] = ""
    incidents: Annotated[tuple[Name, ...], msgspec.Meta(max_length=CONSOLE_LIST_MAX)] = ()


class ShiftView(msgspec.Struct, frozen=True, kw_only=True):
    """One hand-over of the room."""

    at_ms: int
    by: str
    to: str
    text: str
    incidents: tuple[str, ...]


class ShiftsView(msgspec.Struct, frozen=True, kw_only=True):
    """Hand-overs of the room, newest first, and who is on duty now."""

    shifts: tuple[ShiftView, ...]
    on_duty: tuple[str, ...]


class ConsultationsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one person, or by one person. `before`: the key to go on from."""

    person: str = ""
    by: str = ""
    before: str = ""


class ConsultationsView(msgspec.Struct, frozen=True, kw_only=True):
    """Look-ups, newest first."""

    consultations: tuple[KeptConsultation, ...]


class PageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the page has to know about this site."""

    site_name: str
    language: str
    tiles_url: str
    tiles_attribution: str
    tiles_max_zoom: int
    longitude: float
    latitude: float
    zoom: float


async def indicators(call: Call) -> Indicators:
    """The figures of the room."""
    return call.services.hub.indicators(call.now_ms)


def health_view(call: Call) -> HealthView:
    """The parts of the service."""
    hub = call.services.hub
    return HealthView(
        now_ms=call.now_ms,
        caught_up=hub.caught_up,
        parts=tuple(hub.health[name] for name in sorted(hub.health)),
        unreadable_outputs=hub.model.notes["unreadable-outputs"],
    )


async def health(call: Call) -> HealthView:
    """Whether the service lives."""
    return health_view(call)


async def list_shifts(call: Call) -> ShiftsView:
    """Hand-overs of the room."""
    shifts = call.services.hub.model.world.shifts
    return ShiftsView(
        shifts=tuple(
            ShiftView(at_ms=one.at.ms, by=one.by, to=one.to, text=one.text, incidents=one.incidents)
            for one in reversed(shifts)
        ),
        on_duty=tuple(call.services.gate.on_duty(call.now_ms)),
    )


async def hand_over_shift(call: Call) -> Answer:
    """Hand the room over to the next shift."""
    said = call.body
    if said.to == call.session.name:
        raise Problem(Code.CONFLICT, "the shift is handed over to somebody else")
    fact = ShiftHandedOver(call.session.name, said.to, said.text, said.incidents)
    return await send(call, call.services.hub.partitions[0], fact)


async def list_consultations(call: Call) -> ConsultationsView:
    """Who looked at what."""
    asked = call.query
    if asked.before and not _is_key(asked.before):
        raise Problem(Code.MALFORMED, "before is no key of the log")
    try:
        found = await call.services.link.consultations(
            person=asked.person, by=asked.by, before=asked.before, count=200
        )
    except UnavailableError as error:
        raise Problem(Code.UNAVAILABLE, str(error)) from None
    return ConsultationsView(consultations=tuple(found))


def _is_key(text: str) -> bool:
    try:
        Place.parse(text)
    except ValueError:
        return False
    return True


async def page_settings(call: Call) -> PageSettings:
    """What the page has to know about this site."""
    settings = call.services.settings
    return PageSettings(
        site_name=settings.site_name,
        language=settings.language,
        tiles_url=TILES_PATH if settings.tiles.file else settings.tiles.url,
        tiles_attribution=settings.tiles.attribution,
        tiles_max_zoom=settings.tiles.max_zoom,
        longitude=settings.centre[0],
        latitude=settings.centre[1],
        zoom=settings.centre[2],
    )


ROUTES = (
    Route("GET", "/v1/indicators", "show-indicators", "How the room is doing", indicators,
          (Right.INDICATORS,), Indicators, tag="room"),
    Route("GET", "/v1/health", "show-health", "Whether the service lives", health, (), HealthView,
          tag="room"),
    Route("GET", "/v1/shifts", "list-shifts", "Hand-overs of the room", list_shifts,
          (Right.SHIFT,), ShiftsView, tag="room"),
    Route("POST", "/v1/shifts", "hand-over-shift", "Hand the room over", hand_over_shift,
          (Right.SHIFT,), CommandView, body=ShiftBody, statuses=(200, 202), tag="room"),
    Route("GET", "/v1/consultations", "list-consultations", "Who looked at what",
          list_consultations, (Right.CONSULTATIONS,), ConsultationsView, ConsultationsQuery,
          tag="room"),
    Route("GET", "/v1/page-settings", "show-page-settings", "What the page has to know",
          page_settings, (), PageSettings, tag="room"),
)  # fmt: skip
