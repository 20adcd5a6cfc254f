"""What the reasons, states and labels of a verdict mean, in Dutch and in English.

One sentence each, for an operator, a probation officer or a judge: no word that only we know. The
readable form is docs/reasons.md.
"""

from typing import Final

from alerting.book.classes import Text
from geofence.verdicts import (
    Freshness,
    Label,
    OrderKind,
    RequestReason,
    VerdictReason,
    VerdictState,
)

ORDER_KINDS: Final[dict[OrderKind, Text]] = {
    OrderKind.CONTACT_BAN: Text(
        "Contactverbod: afstand houden tot een persoon.",
        "Contact ban: keep away from a person.",
    ),
    OrderKind.AREA_BAN: Text(
        "Gebiedsverbod: niet in een gebied komen.",
        "Area ban: stay out of an area.",
    ),
    OrderKind.LOCATION_ORDER: Text(
        "Locatiegebod: op bepaalde tijden op een plaats zijn.",
        "Location order: be at a place at set times.",
    ),
    OrderKind.EXIT_BAN: Text(
        "Uitreisverbod: niet over de grens van een land of gebied gaan.",
        "Exit ban: do not leave a country or area.",
    ),
}

STATES: Final[dict[VerdictState, Text]] = {
    VerdictState.CLEAR: Text(
        "Geen overtreding.",
        "No breach.",
    ),
    VerdictState.WARNING: Text(
        "Waarschuwing: dicht bij een overtreding, nog geen overtreding.",
        "Warning: close to a breach, not yet one.",
    ),
    VerdictState.POSSIBLE: Text(
        "Mogelijke overtreding: één positie wijst erop, meer bewijs is er nog niet.",
        "Possible breach: one position says so, there is no more evidence yet.",
    ),
    VerdictState.CONFIRMED: Text(
        "Bevestigde overtreding: het bewijs heeft de drempel bereikt, of een meldplicht is gemist.",
        "Confirmed breach: the evidence has reached its threshold, or a report duty was missed.",
    ),
    VerdictState.UNKNOWN: Text(
        "Onbekend: er is nog geen bruikbare positie.",
        "Unknown: there is no usable position yet.",
    ),
}

FRESHNESS: Final[dict[Freshness, Text]] = {
    Freshness.FRESH: Text(
        "De posities zijn recent genoeg.",
        "The positions are recent enough.",
    ),
    Freshness.WEARER_STALE: Text(
        "Van de drager is te lang geen positie ontvangen.",
        "No position of the wearer has come for too long.",
    ),
    Freshness.PROTECTED_STALE: Text(
        "Van de beschermde persoon is te lang geen positie ontvangen.",
        "No position of the protected person has come for too long.",
    ),
    Freshness.BLIND: Text(
        "Van beiden is te lang geen positie ontvangen.",
        "No position of either has come for too long.",
    ),
}

VERDICT_REASONS: Final[dict[VerdictReason, Text]] = {
    VerdictReason.FIRST_POSITION: Text(
        "Dit is de eerste positie waarmee geoordeeld kan worden.",
        "This is the first position that can be judged.",
    ),
    VerdictReason.ONE_FIX_BEYOND_DOUBT: Text(
        "Eén positie geeft meer dan 95 % kans op een overtreding; om nieuwe is gevraagd.",
        "One position gives more than 95 % probability of a breach; more were asked for.",
    ),
    VerdictReason.EVIDENCE_CONFIRMED: Text(
        "Opeenvolgende posities hebben samen genoeg bewijs geleverd: de drempel is bereikt.",
        "Positions in a row have given enough evidence together: the threshold is reached.",
    ),
    VerdictReason.PASSED_THROUGH_BETWEEN_FIXES: Text(
        "De weg tussen twee posities liep door het verboden gebied of binnen de verboden afstand.",
        "The way between two positions ran through the forbidden area or within the distance.",
    ),
    VerdictReason.INSIDE_BUFFER: Text(
        "De drager is in de strook langs de grens die waarschuwt.",
        "The wearer is in the strip along the boundary that warns.",
    ),
    VerdictReason.INSIDE_WARNING_RING: Text(
        "De afstand is kleiner dan de waarschuwingsafstand, maar groter dan de verboden afstand.",
        "The distance is within the warning distance but beyond the forbidden one.",
    ),
    VerdictReason.TIME_TO_CONTACT: Text(
        "Bij deze snelheid zijn zij binnen de ingestelde tijd binnen de verboden afstand.",
        "At this speed they are within the forbidden distance before the time that was set.",
    ),
    VerdictReason.CLEARED_BY_EVIDENCE: Text(
        "Opeenvolgende posities laten zien dat de overtreding voorbij is.",
        "Positions in a row show that the breach is over.",
    ),
    VerdictReason.DOUBT_ENDED: Text(
        "De volgende posities hebben de mogelijke overtreding niet bevestigd.",
        "The positions that followed did not bear the possible breach out.",
    ),
    VerdictReason.LEFT_BUFFER: Text(
        "De drager is uit de strook die waarschuwt.",
        "The wearer has left the strip that warns.",
    ),
    VerdictReason.LEFT_WARNING_RING: Text(
        "De afstand is weer groter dan de waarschuwingsafstand.",
        "The distance is beyond the warning distance again.",
    ),
    VerdictReason.CONTACT_NO_LONGER_NEAR: Text(
        "Zij naderen elkaar niet meer zo dat contact binnen de ingestelde tijd mogelijk is.",
        "They no longer come closer so fast that contact is possible within the time that was set.",
    ),
    VerdictReason.TRAVELLING_ALIKE: Text(
        "Beiden bewegen sindsdien snel en gelijk op; verder is er niets veranderd.",
        "Both move fast and alike since; nothing else has changed.",
    ),
    VerdictReason.IMPLAUSIBLE_JUMP: Text(
        "De positie vraagt een snelheid die niemand kan hebben; zij telt maar voor een deel mee.",
        "The position asks for a speed that nobody can have; it counts only in part.",
    ),
    VerdictReason.SCHEDULE_OPENED: Text(
        "Een tijdvak van het bevel is begonnen; er is geen overtreding.",
        "A period of the order has begun; there is no breach.",
    ),
    VerdictReason.SCHEDULE_OPENED_WHILE_ABSENT: Text(
        "Een tijdvak van het bevel is begonnen terwijl de drager niet op de plaats was.",
        "A period of the order began while the wearer was not at the place.",
    ),
    VerdictReason.SCHEDULE_OPENED_WHILE_INSIDE: Text(
        "Een tijdvak van het verbod begon terwijl de drager in het gebied of te dichtbij was.",
        "A period of the ban began while the wearer was in the area or too close.",
    ),
    VerdictReason.SCHEDULE_ENDED: Text(
        "Het tijdvak van het bevel is voorbij.",
        "The period of the order is over.",
    ),
    VerdictReason.REPORT_DUTY_MISSED: Text(
        "Het tijdvak van de meldplicht is voorbij en de drager is er niet op de plaats gezien.",
        "The period of the report duty is over and the wearer was not seen at the place in it.",
    ),
    VerdictReason.REPORT_DUTY_MET: Text(
        "De drager heeft zich alsnog gemeld, na afloop van het tijdvak.",
        "The wearer reported after all, after the period had ended.",
    ),
    VerdictReason.REPORT_DUTY_PROVEN: Text(
        "Een positie uit het tijdvak kwam later binnen en laat zien dat de drager er op tijd was.",
        "A position from within the period came later and shows that the wearer was there in time.",
    ),
    VerdictReason.ORDER_NOT_IN_FORCE: Text(
        "Het bevel is niet van kracht: wat gebeurt wordt vastgelegd en is geen overtreding.",
        "The order is not in force: what happens is recorded and is no breach.",
    ),
    VerdictReason.ORDER_CAME_INTO_FORCE: Text(
        "Het bevel is van kracht geworden; er is geen overtreding.",
        "The order has come into force; there is no breach.",
    ),
    VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_INSIDE: Text(
        "Het bevel is van kracht geworden terwijl de drager in het gebied of te dichtbij was.",
        "The order came into force while the wearer was in the area or too close.",
    ),
    VerdictReason.ORDER_CAME_INTO_FORCE_WHILE_ABSENT: Text(
        "Het bevel is van kracht geworden terwijl de drager niet op de plaats was.",
        "The order came into force while the wearer was not at the place.",
    ),
    VerdictReason.ORDER_CHANGED: Text(
        "Een nieuwe versie van het bevel telt vanaf dit moment.",
        "A new version of the order counts from this instant.",
    ),
    VerdictReason.ORDER_WITHDRAWN: Text(
        "Het bevel is ingetrokken, of gaat niet meer over deze persoon.",
        "The order was withdrawn, or is no longer about this person.",
    ),
    VerdictReason.ORDER_EXPIRING: Text(
        "Het bevel loopt binnenkort af.",
        "The order ends soon.",
    ),
    VerdictReason.ORDER_LAPSED: Text(
        "Het bevel is afgelopen.",
        "The order has ended.",
    ),
    VerdictReason.ORDER_SUSPENDED: Text(
        "Het bevel is geschorst.",
        "The order is suspended.",
    ),
    VerdictReason.ZONE_CHANGED: Text(
        "Een nieuwe versie van het gebied telt vanaf dit moment.",
        "A new version of the area counts from this instant.",
    ),
    VerdictReason.WEARER_SILENT: Text(
        "Het apparaat van de drager zwijgt langer dan is toegestaan.",
        "The wearer's device has been silent for longer than is allowed.",
    ),
    VerdictReason.PROTECTED_SILENT: Text(
        "Het apparaat van de beschermde persoon zwijgt langer dan is toegestaan.",
        "The protected person's device has been silent for longer than is allowed.",
    ),
    VerdictReason.BOTH_SILENT: Text(
        "Beide apparaten zwijgen langer dan is toegestaan.",
        "Both devices have been silent for longer than is allowed.",
    ),
    VerdictReason.SILENCE_ENDED: Text(
        "Er komen weer posities binnen.",
        "Positions are coming in again.",
    ),
    VerdictReason.LATE_FIX_HISTORY: Text(
        "Posities die later binnenkwamen laten een overtreding in het verleden zien.",
        "Positions that came later show a breach in the past.",
    ),
}

REQUEST_REASONS: Final[dict[RequestReason, Text]] = {
    RequestReason.DOUBTFUL_FIX: Text(
        "De positie laat open aan welke kant van de grens iemand is.",
        "The position leaves open on which side of the boundary somebody is.",
    ),
    RequestReason.POSSIBLE_BREACH: Text(
        "Er is mogelijk een overtreding; nieuwe posities moeten dat bevestigen of weerleggen.",
        "There may be a breach; new positions have to confirm or refute it.",
    ),
    RequestReason.IMPLAUSIBLE_JUMP: Text(
        "De positie vraagt een snelheid die niemand kan hebben.",
        "The position asks for a speed that nobody can have.",
    ),
    RequestReason.PARTNER_STALE: Text(
        "De ander van het paar meldde zich; van deze persoon is de positie te oud.",
        "The other one of the pair reported; the position of this person is too old.",
    ),
    RequestReason.APPROACH: Text(
        "Een overtreding is binnenkort mogelijk; tot dat voorbij is wordt vaker gemeten.",
        "A breach is possible soon; positions are taken more often until that is over.",
    ),
    RequestReason.EDGE_DOUBTFUL: Text(
        "Een tijdvak of bevel begon en de laatste positie is te oud of te onzeker.",
        "A period or an order began and the last position is too old or too uncertain.",
    ),
    RequestReason.ABSENCE_UNCERTAIN: Text(
        "Het is onzeker of de drager nog op de plaats is.",
        "It is uncertain whether the wearer is still at the place.",
    ),
}

LABELS: Final[dict[Label, Text]] = {
    Label.LATE_DELIVERY: Text(
        "De positie was minuten oud toen zij binnenkwam.",
        "The position was minutes old when it came in.",
    ),
    Label.PARALLEL_TRAVEL: Text(
        "Beiden bewegen snel en gelijk op: mogelijk dezelfde weg of trein, zonder opzet.",
        "Both move fast and alike: possibly the same road or train, without intent.",
    ),
    Label.JUMP_FROM_STANDSTILL: Text(
        "De positie versprong terwijl het apparaat stilstand meldde: mogelijk een meetfout.",
        "The position jumped while the device reported standing still: possibly a measuring error.",
    ),
    Label.IMPLAUSIBLE_SPEED: Text(
        "De verplaatsing vraagt een snelheid die niemand kan hebben.",
        "The movement asks for a speed that nobody can have.",
    ),
    Label.POOR_ACCURACY: Text(
        "De nauwkeurigheid van de positie is slecht: 100 meter of meer.",
        "The accuracy of the position is poor: 100 metres or more.",
    ),
    Label.POSITION_HELD: Text(
        "Geoordeeld is met de laatst bekende positie, omdat er op dat moment geen nieuwe was.",
        "Judged with the last known position, because there was no new one at that instant.",
    ),
    Label.ORDER_EXPIRING: Text(
        "Het bevel loopt binnenkort af.",
        "The order ends soon.",
    ),
    Label.POSITION_PREDICTED: Text(
        "Een van beiden reed en is vanaf een eerdere positie met gelijke snelheid verplaatst.",
        "One of them was driving and was moved on from an earlier position at constant speed.",
    ),
    Label.CHANGED_SINCE: Text(
        "De positie is ouder dan deze versie van het gebied: toen kan een ander hebben gegolden.",
        "The position is older than this version of the area: another may have counted then.",
    ),
    Label.COALESCED: Text(
        "De ontvangst liep achter: de nieuwste positie van deze persoon uit die invoer beslist. "
        "Oudere daaruit tellen als bewijs en beslisten zelf niets.",
        "Intake was behind: this is the newest position of this person in its entry, and decides. "
        "Older ones of the same entry count as evidence and decided nothing themselves.",
    ),
}
