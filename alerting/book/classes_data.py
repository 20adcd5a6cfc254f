"""The rows of the alarm book (domain 8.1).

Change a row: raise `BOOK_VERSION`, run the document generator.

Data, not program: it is a Python module only so that reading it needs no file system.
"""

from typing import Final

from alerting.book.classes import ClassRule, FirstAction, Text, build
from alerting.book.words import AlarmClass, Priority

BOOK_VERSION: Final = "5"

_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S

ROWS: Final = (
    ClassRule(
        alarm_class=AlarmClass.PANIC,
        priority=Priority.CRITICAL,
        latched=True,
        four_eyes=True,
        title=Text("Noodknop", "Panic button"),
        consequence=Text(
            "Iemand is nu in gevaar of denkt dat te zijn.",
            "Somebody is in danger now, or believes so.",
        ),
        action=Text(
            "Bel of luister mee, draag over aan de politiemeldkamer.",
            "Call or listen in, hand over to the police control room.",
        ),
        respond_s=30,
        first_actions=(
            FirstAction.BURST_DEVICE,
            FirstAction.BURST_PROTECTED,
            FirstAction.BURST_WEARER,
        ),
        settle_s=0,
        re_alarm_s=120,
        shelve_max_s=0,
        wearer_may_know=False,
    ),
    ClassRule(
        alarm_class=AlarmClass.PROXIMITY,
        priority=Priority.CRITICAL,
        latched=True,
        four_eyes=True,
        title=Text("Te dichtbij", "Too close"),
        consequence=Text(
            "De drager is binnen de verboden afstand: geweld is mogelijk binnen een minuut.",
            "The wearer is within the forbidden distance: violence is possible within a minute.",
        ),
        action=Text(
            "Waarschuw de beschermde persoon, bel de drager, stuur politie.",
            "Warn the protected person, call the wearer, send police.",
        ),
        respond_s=30,
        first_actions=(FirstAction.BURST_WEARER, FirstAction.BURST_PROTECTED),
        settle_s=0,
        re_alarm_s=120,
        shelve_max_s=0,
        wearer_may_know=False,
    ),
    ClassRule(
        alarm_class=AlarmClass.TAMPER,
        priority=Priority.CRITICAL,
        latched=True,
        four_eyes=True,
        title=Text("Sabotage", "Tamper"),
        consequence=Text(
            "De plaats van de drager is niet meer te vertrouwen, ook als de band weer dicht is.",
            "The wearer's position can no longer be trusted, even if the strap is closed again.",
        ),
        action=Text(
            "Bel de drager en de beschermde persoon; politie volgens draaiboek.",
            "Call the wearer and the protected person; police by playbook.",
        ),
        respond_s=30,
        first_actions=(FirstAction.BURST_DEVICE, FirstAction.BURST_PROTECTED),
        settle_s=0,
        re_alarm_s=120,
        shelve_max_s=0,
        wearer_may_know=False,
    ),
    ClassRule(
        alarm_class=AlarmClass.AREA_BREACH,
        priority=Priority.CRITICAL,
        latched=True,
        four_eyes=True,
        title=Text("Verboden gebied", "Forbidden area"),
        consequence=Text(
            "De drager is waar hij niet mag zijn, mogelijk bij de beschermde persoon.",
            "The wearer is where he may not be, possibly near the protected person.",
        ),
        action=Text(
            "Bel de drager, waarschuw de beschermde persoon, politie volgens draaiboek.",
            "Call the wearer, warn the protected person, police by playbook.",
        ),
        respond_s=60,
        first_actions=(FirstAction.BURST_WEARER,),
        settle_s=0,
        re_alarm_s=300,
        shelve_max_s=0,
        wearer_may_know=True,
    ),
    ClassRule(
        alarm_class=AlarmClass.APPROACH,
        priority=Priority.HIGH,
        latched=False,
        title=Text("Nadering", "Approach"),
        consequence=Text(
            "Zonder ingrijpen is de drager binnen minuten te dichtbij.",
            "Without action the wearer is too close within minutes.",
        ),
        action=Text('Bel de drager: "keer om".', 'Call the wearer: "turn around".'),
        respond_s=60,
        first_actions=(FirstAction.BURST_WEARER, FirstAction.BURST_PROTECTED),
        settle_s=60,
        re_alarm_s=300,
        shelve_max_s=_HOUR_S,
        wearer_may_know=True,
    ),
    ClassRule(
        alarm_class=AlarmClass.PAIR_BLIND,
        priority=Priority.HIGH,
        latched=False,
        title=Text("Geen zicht op het paar", "Pair out of sight"),
        consequence=Text(
            "Een nadering zou nu niet gezien worden.",
            "An approach would not be seen now.",
        ),
        action=Text("Bel wie stil is.", "Call whoever is silent."),
        respond_s=90,
        first_actions=(FirstAction.BURST_WEARER, FirstAction.BURST_PROTECTED),
        settle_s=120,
        re_alarm_s=600,
        shelve_max_s=_HOUR_S,
        wearer_may_know=False,
    ),
    ClassRule(
        alarm_class=AlarmClass.ORDER_BREACH,
        priority=Priority.MEDIUM,
        latched=False,
        title=Text("Niet op de opgelegde plaats", "Not at the ordered place"),
        consequence=Text(
            "De drager is niet waar de rechter hem wil hebben.",
            "The wearer is not where the court wants him to be.",
        ),
        action=Text("Bel de drager.", "Call the wearer."),
        respond_s=180,
        first_actions=(FirstAction.BURST_WEARER,),
        settle_s=300,
        re_alarm_s=1800,
        shelve_max_s=8 * _HOUR_S,
        wearer_may_know=True,
    ),
    ClassRule(
        alarm_class=AlarmClass.DEVICE_DYING,
        priority=Priority.MEDIUM,
        latched=False,
        title=Text("Apparaat valt uit", "Device about to fail"),
        consequence=Text(
            "Binnen een half uur is deze persoon uit beeld.",
            "This person is out of sight within half an hour.",
        ),
        action=Text("Bel als opladen uitblijft.", "Call if it is not put on the charger."),
        respond_s=600,
        first_actions=(FirstAction.PROMPT_DEVICE,),
        settle_s=60,
        re_alarm_s=1800,
        shelve_max_s=4 * _HOUR_S,
        wearer_may_know=True,
    ),
    ClassRule(
        alarm_class=AlarmClass.LOCATION_DOUBT,
        priority=Priority.MEDIUM,
        latched=False,
        title=Text("Plaats twijfelachtig", "Position in doubt"),
        consequence=Text(
            "Storing, afscherming of stilte: de plaats kan onwaar zijn.",
            "Jamming, shielding or silence: the position may be untrue.",
        ),
        action=Text(
            "Oordeel met de kaart; bel bij twijfel.", "Judge with the map; call if in doubt."
        ),
        respond_s=600,
        first_actions=(FirstAction.BURST_DEVICE,),
        settle_s=120,
        re_alarm_s=1800,
        shelve_max_s=4 * _HOUR_S,
        wearer_may_know=False,
    ),
    ClassRule(
        alarm_class=AlarmClass.PATTERN,
        priority=Priority.MEDIUM,
        latched=False,
        title=Text("Patroon", "Pattern"),
        consequence=Text(
            "Losse voorvallen wijzen samen op oplopend gevaar.",
            "Single events together point to growing danger.",
        ),
        action=Text(
            "Leg voor aan reclassering en OM; besluit binnen uren.",
            "Put before probation and prosecution; decision within hours.",
        ),
        respond_s=4 * _HOUR_S,
        first_actions=(),
        settle_s=60,
        re_alarm_s=4 * _HOUR_S,
        shelve_max_s=_DAY_S,
        wearer_may_know=False,
        task=True,
        acknowledged_s=_DAY_S,
        recheck_s=_DAY_S,
    ),
    ClassRule(
        alarm_class=AlarmClass.LEGAL,
        priority=Priority.LOW,
        latched=False,
        title=Text("Juridisch", "Legal"),
        consequence=Text(
            "Een maatregel geldt niet (meer) of is niet betekend: dan is vervolging onzeker.",
            "An order is not (or no longer) in force, or not served: prosecution is uncertain.",
        ),
        action=Text("Taak voor de eigenaar van de zaak.", "Task for the owner of the case."),
        respond_s=8 * _HOUR_S,
        first_actions=(),
        settle_s=60,
        re_alarm_s=_DAY_S,
        shelve_max_s=7 * _DAY_S,
        wearer_may_know=False,
        task=True,
        acknowledged_s=5 * _DAY_S,
        recheck_s=7 * _DAY_S,
    ),
    ClassRule(
        alarm_class=AlarmClass.SYSTEM,
        priority=Priority.CRITICAL,
        latched=False,
        title=Text("Systeem", "System"),
        consequence=Text(
            "De dienst zelf of velen tegelijk zijn geraakt: andere alarmen kunnen uitblijven.",
            "The service itself or many at once are affected: other alarms may not come.",
        ),
        action=Text(
            "Volg het draaiboek voor verstoring; alleen dienstleiding.",
            "Follow the playbook for disturbances; shift lead only.",
        ),
        respond_s=60,
        first_actions=(),
        settle_s=60,
        re_alarm_s=600,
        shelve_max_s=_HOUR_S,
        wearer_may_know=False,
    ),
)

ALARM_BOOK: Final = build(ROWS)
"""The checked book, by class.

Building it raises when a row is wrong: nothing starts with a bad alarm book.
"""
