"""The sentences of an account with the places for its figures, in Dutch and in English."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from afstand.explain.sentences import Language
from alerting.book.types import Audience, OrderKind


class Phrases(NamedTuple):
    """All phrases of one language."""

    of_alarm: str
    of_incident: str
    time_zone: str
    wearer: str
    protected: str
    case: str
    nobody: str
    device: str
    person: str
    title_orders: str
    order: str
    report_duty: str
    by_title: str
    no_title: str
    valid: str
    no_end: str
    served: str
    scheduled: str
    risk: str
    radius: str
    warning: str
    time_to_contact: str
    tolerance: str
    buffer: str
    title_happened: str
    why: str
    historic: str
    not_enforced: str
    zone: str
    zone_since: str
    inside: Mapping[OrderKind, str]
    outside: Mapping[OrderKind, str]
    apart: str
    measured: str
    received: str
    wearer_age: str
    protected_age: str
    probability: str
    evidence: str
    steps: str
    step: str
    step_inside: str
    step_outside: str
    step_apart: str
    at_least: str
    speed: str
    closing: str
    contact_in: str
    label: str
    wearer_at: str
    protected_at: str
    entry: str
    left_off: str
    positions_hidden: str
    positions_shown: str
    title_handled: str
    told: str
    audiences: Mapping[Audience, str]
    title_rules: str
    rules: str
    how: Mapping[int, tuple[str, ...]]
    """By version of the rules: an old alarm is explained by what counted then."""
    how_unknown: str


_JUDGED_NL: Final = (
    "Van elke positie wordt de afstand tot de grens vergeleken met haar nauwkeurigheid (de",
    "straal waarbinnen zij 68 van de 100 keer ligt). Dat geeft een kans. Omdat elke positie",
    "een uitschieter kan zijn, is die kans nooit groter dan 97,5 %. Het bewijs is de som van",
    "ln(kans / (1 - kans)) over opeenvolgende posities, nooit minder dan nul. Bij de drempel",
    "van de risicoklasse is de overtreding bevestigd.",
)
_HOW_NL: Final[dict[int, tuple[str, ...]]] = {
    1: (
        *_JUDGED_NL,
        "Een positie telt lichter mee naarmate zij sneller op de vorige volgt: met",
        "tanh(tijd / 120 s).",
    ),
    2: (
        *_JUDGED_NL,
        "Een positie telt lichter mee naarmate zij sneller op de vorige volgt: met",
        "tanh(tijd / 30 s), hoogstens voor de helft. Wie vanuit stilstand versprong telt",
        "langzamer mee, omdat dat een meetfout kan zijn.",
    ),
    3: (
        *_JUDGED_NL,
        "Een positie telt lichter mee naarmate zij sneller op de vorige volgt: met",
        "tanh(tijd / 30 s), hoogstens voor de helft. Wie vanuit stilstand versprong telt",
        "langzamer mee, omdat dat een meetfout kan zijn.",
        "Wie gelijk op reizen krijgen een aantekening, ook als het oordeel al gegeven was.",
    ),
}

_NL: Final = Phrases(
    of_alarm="Toelichting bij alarm {id}",
    of_incident="Toelichting bij incident {id}",
    time_zone="Alle tijden zijn in de tijdzone {zone}.",
    wearer="drager {id}",
    protected="beschermde persoon {id}",
    case="zaak {id}",
    nobody="Geen persoon bekend.",
    device="apparaat {id}",
    person="persoon {id}",
    title_orders="Wie, en op grond van welk bevel",
    order="Bevel {id}, versie {version}",
    report_duty="Meldplicht: ten minste eenmaal in elk tijdvak op de plaats zijn.",
    by_title="Grond: {title}",
    no_title="niet opgegeven",
    valid="Geldig van {start} tot {end}.",
    no_end="nader order",
    served="Betekend op {at}.",
    scheduled="Geldt alleen in de tijdvakken van het bevel.",
    risk="Risicoklasse {risk} (1 is het hoogste risico en vraagt het minste bewijs).",
    radius="Verboden afstand: minder dan {radius}.",
    warning="Waarschuwing vanaf {radius}.",
    time_to_contact="Waarschuwing bij mogelijk contact binnen {s} s.",
    tolerance="Speling: tot {width} buiten de plaats geldt niet als afwezig.",
    buffer="Strook die waarschuwt: {width} langs de grens.",
    title_happened="Wat er is gemeten en geoordeeld (* = hierop veranderde het alarm)",
    why="Waarom: {text} [{code}]",
    historic="Achteraf vastgesteld; dit verandert niets aan de toestand van nu.",
    not_enforced="Het bevel was op dat moment niet te handhaven: vastgelegd, geen alarm.",
    zone="Gebied {id}{name}, versie {version}",
    zone_since=" (geldt sinds {at})",
    inside={
        OrderKind.AREA_BAN: "{distance} binnen het verboden gebied; nauwkeurigheid {accuracy}.",
        OrderKind.LOCATION_ORDER: "{distance} binnen de plaats; nauwkeurigheid {accuracy}.",
        OrderKind.EXIT_BAN: "{distance} binnen de landsgrens; nauwkeurigheid {accuracy}.",
    },
    outside={
        OrderKind.AREA_BAN: "{distance} buiten het verboden gebied; nauwkeurigheid {accuracy}.",
        OrderKind.LOCATION_ORDER: "{distance} buiten de plaats; nauwkeurigheid {accuracy}.",
        OrderKind.EXIT_BAN: "{distance} over de landsgrens; nauwkeurigheid {accuracy}.",
    },
    apart="Onderling {distance}; minder dan {radius} is verboden; nauwkeurigheid {accuracy}.",
    measured="Gemeten {fix}, bekend {known}: {late} later.",
    received="Ontvangen {at}.",
    wearer_age="Positie van de drager: {age} oud.",
    protected_age="Positie van de beschermde persoon: {age} oud.",
    probability="Kans op een overtreding op dat moment: {p}.",
    evidence="Bewijs: {sum}; bevestigd wordt bij {threshold}.",
    steps="Zo groeide het bewijs ({count} posities, {shown} getoond):",
    step="{at}  {where}, nauwkeurigheid {accuracy}, kans {p}: bewijs {sum}",
    step_inside="{distance} binnen",
    step_outside="{distance} buiten",
    step_apart="{distance} van elkaar",
    at_least="ten minste {distance}",
    speed="Snelheid van de drager: {speed}.",
    closing="Zij naderen elkaar met {speed}.",
    contact_in="Bij deze snelheid binnen de verboden afstand over {s}.",
    label="Let op: {text} [{code}]",
    wearer_at="Drager: {lat}, {lon} (nauwkeurigheid {accuracy}), gemeten {at}.",
    protected_at="Beschermde persoon: {lat}, {lon} (nauwkeurigheid {accuracy}), gemeten {at}.",
    entry="Journaalregel {entry}.",
    left_off="{count} oordelen zijn weggelaten.",
    positions_hidden=(
        "Posities zijn niet getoond; met --positions wel, voor wie ze mag zien."
        " Een afstand kan een plaats verraden: verstrek dit niet aan de kant van de drager."
    ),
    positions_shown=(
        "LET OP: hierboven staat waar de personen waren."
        " Nooit verstrekken aan de kant van de drager."
    ),
    title_handled="Wat er met het alarm is gedaan",
    told="Bericht aan {target} ({audience}), kenmerk {key}.",
    audiences={
        Audience.POLICE: "politie",
        Audience.PROBATION: "reclassering",
        Audience.MONITORING_CENTRE: "meldcentrale",
        Audience.SHIFT_LEAD: "dienstleiding",
        Audience.PROTECTED_PERSON: "beschermde persoon",
        Audience.WEARER: "drager",
    },
    title_rules="Hoe is geoordeeld",
    rules="Versie van de regels: {versions}.",
    how=_HOW_NL,
    how_unknown="Versie {version} staat in de documentatie van het programma van toen.",
)

_JUDGED_EN: Final = (
    "The distance of each position to the boundary is compared with its accuracy (the radius",
    "that it is within 68 times out of 100). That gives a probability. Because any position",
    "can be an outlier, it is never more than 97.5 %. The evidence is the sum of",
    "ln(p / (1 - p)) over positions in a row, never below nothing. At the threshold of the",
    "risk class the breach is confirmed.",
)
_HOW_EN: Final[dict[int, tuple[str, ...]]] = {
    1: (
        *_JUDGED_EN,
        "A position counts less the faster it follows the one before: with tanh(time / 120 s).",
    ),
    2: (
        *_JUDGED_EN,
        "A position counts less the faster it follows the one before: with tanh(time / 30 s), at",
        "most by half. Who leapt there from a standstill counts more slowly, because that may be",
        "a measuring error.",
    ),
    3: (
        *_JUDGED_EN,
        "A position counts less the faster it follows the one before: with tanh(time / 30 s), at",
        "most by half. Who leapt there from a standstill counts more slowly, because that may be",
        "a measuring error.",
        "That both travel alike is noted, also when the verdict had been given before.",
    ),
}

_EN: Final = Phrases(
    of_alarm="Explanation of alarm {id}",
    of_incident="Explanation of incident {id}",
    time_zone="All times are in the time zone {zone}.",
    wearer="wearer {id}",
    protected="protected person {id}",
    case="case {id}",
    nobody="No person is known.",
    device="device {id}",
    person="person {id}",
    title_orders="Who, and by which order",
    order="Order {id}, version {version}",
    report_duty="Report duty: be at the place at least once in every period.",
    by_title="Ground: {title}",
    no_title="not given",
    valid="Valid from {start} to {end}.",
    no_end="further notice",
    served="Served on {at}.",
    scheduled="Holds in the periods of the order only.",
    risk="Risk class {risk} (1 is the highest risk and asks for the least evidence).",
    radius="Forbidden distance: less than {radius}.",
    warning="Warning from {radius} on.",
    time_to_contact="Warning when contact is possible within {s} s.",
    tolerance="Tolerance: up to {width} outside of the place is not absent.",
    buffer="Strip that warns: {width} along the boundary.",
    title_happened="What was measured and judged (* = the alarm changed by this)",
    why="Why: {text} [{code}]",
    historic="Found afterwards; it changes nothing about the present state.",
    not_enforced="The order could not be enforced at that moment: recorded, no alarm.",
    zone="Area {id}{name}, version {version}",
    zone_since=" (counts since {at})",
    inside={
        OrderKind.AREA_BAN: "{distance} inside the forbidden area; accuracy {accuracy}.",
        OrderKind.LOCATION_ORDER: "{distance} inside the bounds of the place; accuracy {accuracy}.",
        OrderKind.EXIT_BAN: "{distance} within the border; accuracy {accuracy}.",
    },
    outside={
        OrderKind.AREA_BAN: "{distance} outside the forbidden area; accuracy {accuracy}.",
        OrderKind.LOCATION_ORDER: "{distance} outside the place; accuracy {accuracy}.",
        OrderKind.EXIT_BAN: "{distance} beyond the border; accuracy {accuracy}.",
    },
    apart="Distance between them {distance}; less than {radius} is forbidden; accuracy {accuracy}.",
    measured="Measured {fix}, known {known}: {late} later.",
    received="Received {at}.",
    wearer_age="Position of the wearer: {age} old.",
    protected_age="Position of the protected person: {age} old.",
    probability="Probability of a breach at that moment: {p}.",
    evidence="Evidence: {sum}; it is confirmed at {threshold}.",
    steps="How the evidence grew ({count} positions, {shown} shown):",
    step="{at}  {where}, accuracy {accuracy}, probability {p}: evidence {sum}",
    step_inside="{distance} inside",
    step_outside="{distance} outside",
    step_apart="{distance} apart",
    at_least="at least {distance}",
    speed="Speed of the wearer: {speed}.",
    closing="They come closer at {speed}.",
    contact_in="At this speed within the forbidden distance in {s}.",
    label="Note: {text} [{code}]",
    wearer_at="Wearer: {lat}, {lon} (accuracy {accuracy}), measured {at}.",
    protected_at="Protected person: {lat}, {lon} (accuracy {accuracy}), measured {at}.",
    entry="Journal entry {entry}.",
    left_off="{count} verdicts were left off.",
    positions_hidden=(
        "Positions are not shown; they are with --positions, for those who may see them."
        " A distance can give a place away: never hand this to the wearer's side."
    ),
    positions_shown=(
        "NOTE: where the persons were stands above. Never hand this to the wearer's side."
    ),
    title_handled="What was done about the alarm",
    told="Notice to {target} ({audience}), key {key}.",
    audiences={
        Audience.POLICE: "police",
        Audience.PROBATION: "probation",
        Audience.MONITORING_CENTRE: "monitoring centre",
        Audience.SHIFT_LEAD: "shift lead",
        Audience.PROTECTED_PERSON: "protected person",
        Audience.WEARER: "wearer",
    },
    title_rules="How it was judged",
    rules="Version of the rules: {versions}.",
    how=_HOW_EN,
    how_unknown="Version {version} is in the documentation of the program of then.",
)
_ALL: Final[dict[Language, Phrases]] = {"nl": _NL, "en": _EN}


def phrases(language: Language) -> Phrases:
    """The phrases of a language."""
    return _ALL[language]
