"""What the reasons for refusing a message, an order or a geometry mean, in Dutch and in English."""

from typing import Final

from alerting.book.classes import Text
from alerting.notify.sorting import FaultReason
from firmware_contracts.owntracks import IgnoredReason
from geofence.geojson import Reason as GeometryReason
from geofence.geojson import Repair
from geofence.orders import OrderState
from geofence.orders import RejectReason as OrderRejectReason
from ingest.reasons import Reason as IntakeReason

ORDER_STATES: Final[dict[OrderState, Text]] = {
    OrderState.DRAFTED: Text("Opgesteld, niet ondertekend.", "Drafted, not signed."),
    OrderState.SIGNED: Text("Ondertekend, niet betekend.", "Signed, not served."),
    OrderState.SERVED: Text("Betekend, nog niet ingegaan.", "Served, not yet in force."),
    OrderState.ACTIVE: Text("Van kracht.", "In force."),
    OrderState.SUSPENDED: Text("Geschorst.", "Suspended."),
    OrderState.EXPIRING: Text("Van kracht, loopt binnenkort af.", "In force, ends soon."),
    OrderState.LAPSED: Text("Afgelopen.", "Lapsed."),
}

NOTICE_FAULTS: Final[dict[FaultReason, Text]] = {
    FaultReason.POISON_ENTRY: Text(
        "De waarschuwingen konden niet worden gelezen.", "The notices could not be read."
    ),
    FaultReason.POISON_OUTPUT: Text(
        "De waarschuwing kon niet worden gelezen.", "The notice could not be read."
    ),
    FaultReason.BAD_KEY: Text(
        "Het kenmerk van de waarschuwing is ongeldig.", "The key of the notice is not valid."
    ),
    FaultReason.UNKNOWN_TARGET: Text(
        "De ontvanger is niet ingesteld.", "The receiver is not configured."
    ),
    FaultReason.AUDIENCE_NOT_ALLOWED: Text(
        "De ontvanger mag dit niet zien.", "The receiver may not see this."
    ),
}

ORDER_REJECTS: Final[dict[OrderRejectReason, Text]] = {
    OrderRejectReason.MALFORMED: Text("Het kan niet worden gelezen.", "It cannot be read."),
    OrderRejectReason.TOO_LARGE: Text("Het is te groot.", "It is too large."),
    OrderRejectReason.UNKNOWN_WEARER: Text("De drager is onbekend.", "The wearer is not known."),
    OrderRejectReason.UNKNOWN_PROTECTED: Text(
        "Een beschermde persoon is onbekend.", "A protected person is not known."
    ),
    OrderRejectReason.UNKNOWN_ZONE: Text("Een gebied is onbekend.", "An area is not known."),
    OrderRejectReason.WEARER_PROTECTED_FROM_SELF: Text(
        "De drager is zelf als beschermde persoon genoemd.",
        "The wearer is named as the protected person.",
    ),
    OrderRejectReason.NAMED_TWICE: Text("Iets is tweemaal genoemd.", "Something is named twice."),
    OrderRejectReason.NO_ZONE: Text("Er is geen gebied genoemd.", "No area is named."),
    OrderRejectReason.NO_PROTECTED_PERSON: Text(
        "Er is geen beschermde persoon genoemd.", "No protected person is named."
    ),
    OrderRejectReason.NO_RADIUS: Text(
        "Een contactverbod heeft een afstand nodig.", "A contact ban needs a distance."
    ),
    OrderRejectReason.WARNING_WITHIN_RADIUS: Text(
        "De waarschuwingsafstand ligt binnen de verboden afstand.",
        "The warning distance is within the forbidden distance.",
    ),
    OrderRejectReason.NO_SCHEDULE: Text(
        "Een meldplicht heeft tijdvakken nodig.", "A report duty needs periods."
    ),
    OrderRejectReason.BAD_SCHEDULE: Text(
        "De tijdvakken zijn ongeldig.", "The periods are not valid."
    ),
    OrderRejectReason.VALIDITY_REVERSED: Text(
        "Het einde ligt voor het begin.", "The end is before the beginning."
    ),
    OrderRejectReason.OLDER_VERSION: Text(
        "Er is al een nieuwere of andere versie.", "There is a newer or another version already."
    ),
    OrderRejectReason.OTHER_WEARER: Text(
        "Een nieuwe versie mag niet over een andere drager of een andere soort bevel gaan.",
        "A new version may not be about another wearer or another kind of order.",
    ),
    OrderRejectReason.FOREIGN_FIELD: Text(
        "Een gegeven hoort niet bij deze soort bevel.",
        "A field does not belong to this kind of order.",
    ),
    OrderRejectReason.TOO_MANY: Text("Het zijn er te veel.", "There are too many."),
    OrderRejectReason.BAD_GEOMETRY: Text("Het gebied is ongeldig.", "The area is not valid."),
}

GEOMETRY: Final[dict[GeometryReason, Text]] = {
    GeometryReason.TOO_LARGE: Text("Het bestand is te groot.", "The file is too large."),
    GeometryReason.MALFORMED_JSON: Text("Het is geen JSON.", "It is not JSON."),
    GeometryReason.DUPLICATE_KEY: Text("Een naam staat er tweemaal.", "A name stands twice."),
    GeometryReason.NOT_AN_OBJECT: Text("Het is geen object.", "It is not an object."),
    GeometryReason.UNKNOWN_TYPE: Text(
        "De soort vorm is onbekend.", "The type of geometry is not known."
    ),
    GeometryReason.MISSING_MEMBER: Text("Er ontbreekt een gegeven.", "A member is missing."),
    GeometryReason.FORBIDDEN_MEMBER: Text(
        "Er staat een gegeven dat er niet mag staan.", "There is a member that must not be there."
    ),
    GeometryReason.BAD_MEMBER: Text("Een gegeven is ongeldig.", "A member is not valid."),
    GeometryReason.BAD_BBOX: Text("De omhullende is ongeldig.", "The bounding box is not valid."),
    GeometryReason.FOREIGN_CRS: Text(
        "Een ander coördinatenstelsel dan WGS 84.", "Another coordinate system than WGS 84."
    ),
    GeometryReason.BAD_COORDINATES: Text(
        "De coördinaten zijn verkeerd opgebouwd.", "The coordinates are nested wrongly."
    ),
    GeometryReason.BAD_POSITION: Text("Een positie is ongeldig.", "A position is not valid."),
    GeometryReason.NOT_FINITE: Text("Een getal is niet eindig.", "A number is not finite."),
    GeometryReason.TOO_FEW_POSITIONS: Text(
        "Een ring heeft te weinig posities.", "A ring has too few positions."
    ),
    GeometryReason.RING_NOT_CLOSED: Text("Een ring is niet gesloten.", "A ring is not closed."),
    GeometryReason.WRONG_WINDING: Text(
        "Een ring draait de verkeerde kant op.", "A ring turns the wrong way."
    ),
    GeometryReason.NESTED_COLLECTION: Text(
        "Een verzameling in een verzameling.", "A collection in a collection."
    ),
    GeometryReason.SINGLE_COLLECTION: Text(
        "Een verzameling van één of één soort.", "A collection of one or of one type."
    ),
    GeometryReason.NOT_AN_AREA: Text("Het is geen vlak.", "It is not an area."),
    GeometryReason.EMPTY: Text("Het is leeg.", "It is empty."),
    GeometryReason.OUT_OF_RANGE: Text(
        "Een positie ligt buiten de aarde.", "A position is not on the earth."
    ),
    GeometryReason.ANTIMERIDIAN: Text(
        "Het gebied loopt over de datumgrens.", "The area crosses the antimeridian."
    ),
    GeometryReason.TOO_MANY_VERTICES: Text("Te veel hoekpunten.", "Too many vertices."),
    GeometryReason.SELF_INTERSECTION: Text("Een rand kruist zichzelf.", "A ring crosses itself."),
    GeometryReason.HOLE_OUTSIDE_SHELL: Text(
        "Een gat ligt niet in het gebied.", "A hole is not in the area."
    ),
    GeometryReason.OVERLAPPING_PARTS: Text("Delen overlappen elkaar.", "Parts overlap."),
    GeometryReason.NO_AREA: Text("Het gebied heeft geen oppervlak.", "The area has no extent."),
    GeometryReason.TOO_WIDE: Text("Het gebied is te breed.", "The area is too wide."),
}

REPAIRS: Final[dict[Repair, Text]] = {
    Repair.RING_CLOSED: Text("Een open ring is gesloten.", "An open ring was closed."),
    Repair.WINDING_REVERSED: Text(
        "Een ring die verkeerd draaide is omgekeerd gelezen.",
        "A ring that turned the wrong way was read backwards.",
    ),
    Repair.SELF_INTERSECTION_RESOLVED: Text(
        "Een rand die zichzelf kruiste is gesplitst.", "A ring that crossed itself was resolved."
    ),
    Repair.PARTS_UNITED: Text(
        "Delen die elkaar raakten of overlapten zijn één geworden.",
        "Parts that touched or overlapped became one.",
    ),
}

MESSAGES: Final[dict[IntakeReason, Text]] = {
    IntakeReason.TRUNCATED: Text("Het bericht is afgebroken.", "The message is cut off."),
    IntakeReason.OVERSIZED: Text("Het bericht is te groot.", "The message is too large."),
    IntakeReason.BAD_MAGIC: Text(
        "Het is geen bericht van een apparaat.", "It is no message of a device."
    ),
    IntakeReason.UNKNOWN_VERSION: Text(
        "De versie van het bericht is onbekend.", "The version of the message is not known."
    ),
    IntakeReason.UNKNOWN_KIND: Text(
        "De soort bericht is onbekend.", "The kind of message is not known."
    ),
    IntakeReason.BAD_COUNT: Text(
        "Het aantal regels in het bericht klopt niet.", "The number of records is wrong."
    ),
    IntakeReason.BAD_LENGTH: Text(
        "De lengte van het bericht klopt niet.", "The length of the message is wrong."
    ),
    IntakeReason.BAD_TAG: Text(
        "Het bewijs van herkomst klopt niet.", "The proof of origin is wrong."
    ),
    IntakeReason.WRONG_DIRECTION: Text(
        "Een bericht van de dienst kwam terug alsof een apparaat het stuurde.",
        "A message of the service came back as if a device had sent it.",
    ),
    IntakeReason.IMPOSSIBLE_VALUE: Text(
        "Er staat een onmogelijke waarde in.", "It has an impossible value."
    ),
    IntakeReason.WRONG_TOPIC: Text(
        "Het bericht kwam op de verkeerde plaats binnen.", "The message came in on a wrong topic."
    ),
    IntakeReason.BAD_JSON: Text("Het is geen JSON.", "It is not JSON."),
    IntakeReason.BAD_SCHEMA: Text(
        "Een gegeven ontbreekt of heeft een verkeerde soort.",
        "A member is missing or of a wrong type.",
    ),
    IntakeReason.UNKNOWN_TYPE: Text(
        "De soort bericht van de telefoon is onbekend.", "The phone's type of message is not known."
    ),
    IntakeReason.BAD_CHECKSUM: Text("De controlesom klopt niet.", "The checksum does not fit."),
    IntakeReason.MALFORMED_PACKET: Text(
        "Het MQTT-pakket is ongeldig.", "The MQTT packet is not valid."
    ),
    IntakeReason.UNKNOWN_DEVICE: Text("Het apparaat is onbekend.", "The device is not known."),
    IntakeReason.DISABLED_DEVICE: Text(
        "Het apparaat is uitgeschakeld in het register.", "The device is disabled in the registry."
    ),
    IntakeReason.FUTURE_TIME: Text(
        "De tijd van de positie ligt in de toekomst.", "The time of the position is in the future."
    ),
    IntakeReason.REPLAYED_SEQUENCE: Text(
        "Het bericht is lang geleden al ontvangen.", "The message was received long ago."
    ),
    IntakeReason.UNAUTHENTICATED_FLOOD: Text(
        "Te veel alarmen zonder bewijs van herkomst.", "Too many alarms without proof of origin."
    ),
    IntakeReason.INTERNAL_ERROR: Text(
        "Een fout van het programma; het bericht is bewaard.",
        "A fault of the program; the message was kept.",
    ),
}

IGNORED: Final[dict[IgnoredReason, Text]] = {
    IgnoredReason.EMPTY_PAYLOAD: Text("Het bericht is leeg.", "The message is empty."),
    IgnoredReason.EMPTY_ARRAY: Text("De lijst is leeg.", "The list is empty."),
    IgnoredReason.ENCRYPTED: Text("Het bericht is versleuteld.", "The message is encrypted."),
    IgnoredReason.IMPOSSIBLE_POSITION: Text(
        "De positie is onmogelijk.", "The position is impossible."
    ),
    IgnoredReason.IMPLAUSIBLE_TIME: Text("De tijd is onmogelijk.", "The time is impossible."),
    IgnoredReason.BEACON: Text("Een baken.", "A beacon."),
    IgnoredReason.CARD: Text("Een naamkaart.", "A card."),
    IgnoredReason.COMMAND: Text("Een opdracht.", "A command."),
    IgnoredReason.CONFIGURATION: Text("Een instelling.", "A configuration."),
    IgnoredReason.LAST_WILL: Text("De verbinding viel weg.", "The connection was lost."),
    IgnoredReason.REQUEST: Text("Een vraag.", "A request."),
    IgnoredReason.STATUS: Text("Een toestand.", "A status."),
    IgnoredReason.STEPS: Text("Een aantal stappen.", "A number of steps."),
    IgnoredReason.TRANSITION: Text("Een overgang.", "A transition."),
    IgnoredReason.WAYPOINT: Text("Een punt.", "A waypoint."),
    IgnoredReason.WAYPOINTS: Text("Punten.", "Waypoints."),
}
