"""What the changes, events and reasons of the alarm book mean, in Dutch and in English.

`WHYS` has the reasons that are words of the book itself and of no enumeration.
"""

from typing import Final

from alerting.book.classes import Text
from alerting.book.inputs import Disposition, ReceiptStatus
from alerting.book.outputs import BreachChange, Change, CommandStatus, IncidentChange, RejectReason
from alerting.book.words import EventKind, Purpose, SignalKind

CHANGES: Final[dict[Change, Text]] = {
    Change.RAISED: Text("Het alarm is gegeven.", "The alarm was raised."),
    Change.RAISED_AGAIN: Text(
        "Er is een oorzaak bij gekomen of teruggekomen.",
        "A cause was added or came back.",
    ),
    Change.CONFIRMED: Text("De overtreding is bevestigd.", "The breach was confirmed."),
    Change.RETURNED: Text(
        "De oorzaak van het alarm is voorbij.", "The cause of the alarm is over."
    ),
    Change.ACKNOWLEDGED: Text(
        "Iemand heeft het alarm in behandeling genomen.", "Somebody has taken the alarm in hand."
    ),
    Change.ACKNOWLEDGEMENT_RENEWED: Text(
        "De behandeling is verlengd.", "The handling was extended."
    ),
    Change.ACKNOWLEDGEMENT_EXPIRED: Text(
        "Het alarm is niet op tijd afgehandeld; er wordt opnieuw gewaarschuwd.",
        "The alarm was not settled in time; people are told again.",
    ),
    Change.ACKNOWLEDGEMENT_VOID: Text(
        "Er is iets nieuws gebeurd sinds het in behandeling is; er wordt opnieuw gewaarschuwd.",
        "Something new happened since it was taken in hand; people are told again.",
    ),
    Change.RE_ALARMED: Text(
        "Niemand heeft geantwoord; er wordt van voren af aan gewaarschuwd.",
        "Nobody has answered; people are told again from the start.",
    ),
    Change.SHELVED: Text("Het alarm is tijdelijk stilgezet.", "The alarm was silenced for a time."),
    Change.UNSHELVED: Text("Het alarm is weer hoorbaar.", "The alarm is audible again."),
    Change.SUPPRESSED: Text(
        "Het alarm is onderdrukt; het is wel vastgelegd.",
        "The alarm is suppressed; it is recorded.",
    ),
    Change.UNSUPPRESSED: Text(
        "Het alarm wordt niet meer onderdrukt.", "The alarm is no longer suppressed."
    ),
    Change.OUT_OF_SERVICE: Text("Het alarm is buiten dienst.", "The alarm is out of service."),
    Change.IN_SERVICE: Text("Het alarm is weer in dienst.", "The alarm is back in service."),
    Change.STEP_STARTED: Text(
        "Een stap van het plan is begonnen.", "A step of the plan has started."
    ),
    Change.STEP_MET: Text(
        "Een stap van het plan is op tijd beantwoord.", "A step of the plan was answered in time."
    ),
    Change.STEP_MISSED: Text(
        "Een stap van het plan is niet op tijd beantwoord.",
        "A step of the plan was not answered in time.",
    ),
    Change.STEP_PASSED: Text(
        "Een stap van het plan is overgeslagen: er was niemand te waarschuwen.",
        "A step of the plan was passed: there was nobody to tell.",
    ),
    Change.FALLBACK_USED: Text(
        "De vervanger van een stap is gewaarschuwd.", "The fallback of a step was told."
    ),
    Change.DELIVERY: Text("Er kwam bericht over een waarschuwing.", "There was word of a notice."),
    Change.PLAN_ENDED: Text("Het plan is ten einde.", "The plan has ended."),
    Change.LAST_RESORT: Text(
        "Het plan had niemand (meer) voor dit alarm; het standaardplan neemt het over.",
        "The plan had nobody (left) for this alarm; the default plan takes over.",
    ),
    Change.CHATTERING: Text(
        "Het alarm komt en gaat zo vaak dat er iets aan mankeert.",
        "The alarm comes and goes so often that something about it is wrong.",
    ),
    Change.CLOSED: Text("Het alarm is gesloten.", "The alarm was closed."),
}

INCIDENT_CHANGES: Final[dict[IncidentChange, Text]] = {
    IncidentChange.OPENED: Text("Het incident is geopend.", "The incident was opened."),
    IncidentChange.JOINED: Text(
        "Een alarm van een andere soort is bij het incident gekomen.",
        "An alarm of another class joined the incident.",
    ),
    IncidentChange.NOTE: Text("Er is een aantekening gemaakt.", "A note was made."),
    IncidentChange.PROTECTED_TOLD: Text(
        "De beschermde persoon is ingelicht.", "The protected person was told."
    ),
    IncidentChange.CLOSING_PROPOSED: Text(
        "Sluiten is voorgesteld; een tweede persoon moet tekenen.",
        "Closing was proposed; a second person has to sign.",
    ),
    IncidentChange.CLOSING_VOID: Text(
        "Het voorstel om te sluiten is vervallen.", "The proposal to close is void."
    ),
    IncidentChange.CLOSED: Text("Het incident is gesloten.", "The incident was closed."),
}

EVENTS: Final[dict[EventKind, Text]] = {
    EventKind.PANIC: Text("De noodknop is ingedrukt.", "The panic button was pressed."),
    EventKind.DURESS: Text(
        "Er is een alarm onder dwang gegeven.", "An alarm was given under duress."
    ),
    EventKind.FALL: Text("Het apparaat meldt een val.", "The device reports a fall."),
    EventKind.STRAP_CUT: Text("De band is doorgesneden of open.", "The strap is cut or open."),
    EventKind.STRAP_RESTORED: Text("De band is weer dicht.", "The strap is closed again."),
    EventKind.CASE_OPENED: Text(
        "De behuizing van het apparaat is geopend.", "The case of the device was opened."
    ),
    EventKind.JAMMING: Text(
        "Het apparaat meldt storing van satelliet of netwerk.",
        "The device reports jamming of satellites or network.",
    ),
    EventKind.JAMMING_ENDED: Text("De storing is voorbij.", "The jamming is over."),
    EventKind.SHIELDING: Text("Het apparaat is afgeschermd.", "The device is shielded."),
    EventKind.SHIELDING_ENDED: Text("De afscherming is voorbij.", "The shielding is over."),
    EventKind.BATTERY_LOW: Text("De batterij raakt leeg.", "The battery is getting low."),
    EventKind.BATTERY_CRITICAL: Text("De batterij is bijna leeg.", "The battery is almost empty."),
    EventKind.CHARGING: Text("Het apparaat wordt opgeladen.", "The device is being charged."),
    EventKind.CHARGING_ENDED: Text("Het opladen is gestopt.", "The charging has stopped."),
    EventKind.COMMAND_DONE: Text("Het apparaat deed wat gevraagd was.", "The device did as asked."),
    EventKind.COMMAND_REFUSED: Text(
        "Het apparaat weigerde wat gevraagd was.", "The device refused what was asked."
    ),
    EventKind.COMMAND_EXPIRED: Text(
        "De vraag kwam te laat bij het apparaat.", "The request reached the device too late."
    ),
    EventKind.SELF_TEST: Text("Er is een test gedaan.", "A test was made."),
    EventKind.SILENCE: Text("Het apparaat zwijgt.", "The device is silent."),
    EventKind.SILENCE_ENDED: Text("Het apparaat meldt zich weer.", "The device is heard again."),
    EventKind.CLOCK_FAULT: Text(
        "De klok van het apparaat loopt te ver voor.", "The device's clock is too far ahead."
    ),
    EventKind.CLOCK_RIGHT: Text(
        "De klok van het apparaat gaat weer goed.", "The device's clock is right again."
    ),
    EventKind.CONTACT_RADIO: Text(
        "De apparaten van beiden horen elkaar via de radio: zij zijn dichtbij.",
        "The devices of both hear each other by radio: they are close.",
    ),
    EventKind.SHUTDOWN: Text("Het apparaat is uitgeschakeld.", "The device was switched off."),
    EventKind.MEMORY_FULL: Text(
        "Het geheugen van het apparaat is vol.", "The memory of the device is full."
    ),
    EventKind.STATUS: Text("Het apparaat meldt zijn toestand.", "The device reports its state."),
}

SIGNALS: Final[dict[SignalKind, Text]] = {
    SignalKind.QUARANTINE_BURST: Text(
        "Veel berichten achter elkaar zijn geweigerd.", "Many messages in a row were refused."
    ),
    SignalKind.MASS_LOSS: Text(
        "Veel personen zwijgen tegelijk: waarschijnlijk een storing van netwerk of dienst.",
        "Many persons fell silent at once: probably a fault of the network or the service.",
    ),
    SignalKind.POISON_ENTRY: Text(
        "Een bericht of opdracht kon niet worden verwerkt en is apart gezet.",
        "A message or command could not be processed and was set aside.",
    ),
    SignalKind.DELIVERY_DEAD: Text(
        "Een waarschuwing kon niet worden bezorgd.", "A notice could not be delivered."
    ),
    SignalKind.DEVICE_SET_ASIDE: Text(
        "De posities van een apparaat zijn apart gezet, omdat zij een fout veroorzaken.",
        "The positions of a device were set aside, because they cause a fault.",
    ),
    SignalKind.JOURNAL_LAG: Text(
        "De verwerking loopt achter op wat binnenkomt.", "Processing lags behind what comes in."
    ),
    SignalKind.ORDER_REJECTED: Text(
        "Een bevel, gebied of persoon is geweigerd.", "An order, area or person was refused."
    ),
    SignalKind.REPLICA_DIVERGENCE: Text(
        "Twee verwerkers kwamen tot een verschillende uitkomst.",
        "Two replicas came to different results.",
    ),
    SignalKind.SHADOW_DIFFERS: Text(
        "Een schaduwversie van het programma kwam tot iets anders.",
        "A shadow version of the program came to something else.",
    ),
    SignalKind.READER_SILENT: Text(
        "Een lezer van het journaal laat niets meer horen.",
        "A reader of the journal gives no sign any more.",
    ),
    SignalKind.ARCHIVE_FAULT: Text(
        "Het archief kan niet worden geschreven of klopt niet.",
        "The archive cannot be written or is not as it was.",
    ),
    SignalKind.AUDIT_FINDING: Text(
        "De controleur mist iets dat had moeten gebeuren.",
        "The auditor misses something that should have happened.",
    ),
    SignalKind.BOOK_LIMIT: Text("Een grens van de dienst is bereikt.", "A bound was reached."),
    SignalKind.ALARM_FLOOD: Text(
        "Er komen meer alarmen dan de dienst kan behandelen.",
        "More alarms come than the people on duty can handle.",
    ),
    SignalKind.TIMER_FAULT: Text(
        "Een termijn kon niet worden verwerkt; iemand moet naar het genoemde alarm kijken.",
        "A timer could not be processed; a person must look at the alarm it names.",
    ),
}

REJECT_REASONS: Final[dict[RejectReason, Text]] = {
    RejectReason.UNKNOWN_INCIDENT: Text(
        "Er is geen open incident met dit nummer.", "There is no open incident of this id."
    ),
    RejectReason.UNKNOWN_ALARM: Text(
        "Er is geen open alarm met dit nummer.", "There is no open alarm of this id."
    ),
    RejectReason.UNKNOWN_DELIVERY: Text(
        "De waarschuwing waarover bericht kwam is niet (meer) bekend.",
        "The notice that there was word of is not known (any more).",
    ),
    RejectReason.CONDITION_STILL_ACTIVE: Text(
        "De oorzaak duurt nog voort; sluiten kan alleen uitdrukkelijk ondanks dat.",
        "The cause lasts; it can be closed only by saying that this is known.",
    ),
    RejectReason.NEVER_SUPPRESSED: Text(
        "Een alarm van deze soort mag niet worden stilgezet.",
        "An alarm of this class may not be silenced.",
    ),
    RejectReason.TOO_LONG: Text("Het is te lang.", "It is too long."),
    RejectReason.IN_THE_PAST: Text("Het tijdstip is al voorbij.", "The time has passed already."),
    RejectReason.IN_THE_FUTURE: Text("Dat is nog niet gebeurd.", "That has not happened yet."),
    RejectReason.SILENT_POLICY: Text(
        "In deze zaak wordt de beschermde persoon niets gemeld.",
        "In this case the protected person is told nothing.",
    ),
    RejectReason.NOT_SHELVED: Text("Het alarm was niet stilgezet.", "The alarm was not silenced."),
    RejectReason.NOT_OUT_OF_SERVICE: Text(
        "Het was niet buiten dienst.", "It was not out of service."
    ),
    RejectReason.NOTHING_OWED: Text("Er is geen beslissing verschuldigd.", "No decision is owed."),
    RejectReason.NOT_PROPOSED: Text(
        "Er is geen voorstel om te sluiten.", "There is no proposal to close."
    ),
    RejectReason.SAME_PERSON: Text(
        "Wie voorstelt mag niet zelf tekenen.", "Who proposed may not sign."
    ),
    RejectReason.NO_PERSON: Text("Er is geen persoon genoemd.", "No person was named."),
    RejectReason.NO_REASON_GIVEN: Text("Er is geen reden gegeven.", "No reason was given."),
    RejectReason.BAD_PLAN: Text("Het plan is ongeldig.", "The plan is not valid."),
    RejectReason.BAD_ROSTER: Text(
        "Het dienstrooster is ongeldig.", "The duty roster is not valid."
    ),
    RejectReason.BAD_CASE: Text("De zaak is ongeldig.", "The case is not valid."),
    RejectReason.BAD_ID: Text("Het kenmerk is ongeldig.", "The id is not valid."),
    RejectReason.LIMIT: Text("Een grens van de dienst is bereikt.", "A bound was reached."),
    RejectReason.BAD_COMMAND: Text(
        "De opdracht kan niet worden gelezen.", "The command cannot be read."
    ),
    RejectReason.BAD_ORDER: Text(
        "Het bevel, het gebied of de persoon is geweigerd.",
        "The order, the area or the person was refused.",
    ),
    RejectReason.POISON: Text(
        "Het veroorzaakt een fout van het programma en is apart gezet.",
        "It causes a fault of the program and was set aside.",
    ),
    RejectReason.DUPLICATE: Text("Het is al eerder ontvangen.", "It was received before."),
}

COMMAND_STATUSES: Final[dict[CommandStatus, Text]] = {
    CommandStatus.SENT: Text("Aan het apparaat gevraagd.", "Asked of the device."),
    CommandStatus.DONE: Text("Het apparaat deed het.", "The device did it."),
    CommandStatus.REFUSED: Text("Het apparaat weigerde.", "The device refused."),
    CommandStatus.EXPIRED: Text(
        "De vraag kwam te laat bij het apparaat.", "The request reached the device too late."
    ),
    CommandStatus.UNANSWERED: Text(
        "Het apparaat heeft niet geantwoord.", "The device has not answered."
    ),
    CommandStatus.NOT_SENT: Text(
        "Niet gevraagd: kort tevoren was het al gevraagd, of een grens is bereikt.",
        "Not asked: it was asked shortly before, or a bound was reached.",
    ),
}

DISPOSITIONS: Final[dict[Disposition, Text]] = {
    Disposition.HANDLED: Text("Afgehandeld.", "Handled."),
    Disposition.FALSE_ALARM: Text("Vals alarm.", "False alarm."),
    Disposition.TECHNICAL: Text("Technische oorzaak.", "Technical cause."),
    Disposition.PERMITTED: Text(
        "Toegestaan: vooraf afgesproken contact of verblijf.",
        "Permitted: contact or presence arranged beforehand.",
    ),
    Disposition.DUPLICATE: Text("Dubbel.", "Duplicate."),
    Disposition.TEST: Text("Test.", "Test."),
}

PURPOSES: Final[dict[Purpose, Text]] = {
    Purpose.ALERT: Text("Waarschuwing.", "Alert."),
    Purpose.UPDATE: Text("Nieuws over een eerdere waarschuwing.", "News of an earlier alert."),
    Purpose.ESCALATION: Text(
        "Waarschuwing omdat een ander niet op tijd antwoordde.",
        "Alert because somebody else did not answer in time.",
    ),
    Purpose.WITHDRAWN: Text("Het alarm is voorbij.", "The alarm is over."),
    Purpose.TEST: Text("Test.", "Test."),
    Purpose.TASK: Text(
        "Een taak voor de eigenaar van de zaak.", "A task for the owner of the case."
    ),
    Purpose.EXPLANATION: Text(
        "Uitleg achteraf aan de beschermde persoon.", "An explanation to the protected person."
    ),
    Purpose.HISTORY: Text("Melding van een overtreding in het verleden.", "A breach in the past."),
}

RECEIPTS: Final[dict[ReceiptStatus, Text]] = {
    ReceiptStatus.DELIVERED: Text("Bezorgd.", "Delivered."),
    ReceiptStatus.ACKNOWLEDGED: Text("Bezorgd en beantwoord.", "Delivered and acknowledged."),
    ReceiptStatus.REFUSED: Text("De ontvanger weigerde.", "The receiver refused."),
    ReceiptStatus.FAILED: Text("Niet bezorgd.", "Not delivered."),
}

BREACH_CHANGES: Final[dict[BreachChange, Text]] = {
    BreachChange.COUNTED: Text(
        "De overtreding is geteld; er is een beslissing verschuldigd.",
        "The breach was counted; a decision is owed.",
    ),
    BreachChange.WITHDRAWN: Text(
        "Niet meer geteld: het incident is gesloten als geen overtreding.",
        "Counted no more: the incident was closed as no breach.",
    ),
    BreachChange.REMINDED: Text(
        "Aan de verschuldigde beslissing is herinnerd.", "The decision that is owed was recalled."
    ),
    BreachChange.OVERDUE: Text(
        "De verschuldigde beslissing is te laat.", "The decision that is owed is overdue."
    ),
    BreachChange.DECIDED: Text("Er is beslist.", "A decision was taken."),
}

WHYS: Final[dict[str, Text]] = {
    "four-eyes": Text(
        "Dit incident sluiten vraagt twee personen.", "Closing this incident takes two persons."
    ),
    "asked-by-the-auditor": Text(
        "De controleur vraagt of er iemand oplet.", "The auditor asks whether somebody watches."
    ),
    "comes-and-goes": Text(
        "Het kwam binnen een minuut te vaak terug.", "It came back too often within a minute."
    ),
    "put-right": Text("Wat ontbrak is in orde gemaakt.", "What was missing was put right."),
    "taken-out-of-the-count": Text(
        "Telt niet meer mee: gesloten als geen overtreding.", "Counts no more: closed as no breach."
    ),
    "acknowledgement-expired": Text(
        "De tijd voor de behandeling is om.", "The time for handling it is over."
    ),
    "already-asked": Text("Het is kort tevoren al gevraagd.", "It was asked shortly before."),
    "another-person": Text("Het gaat nu ook om een ander.", "It is about another person as well."),
    "back-in-service": Text("Het is weer in dienst.", "It is back in service."),
    "breach": Text("De nadering is een overtreding geworden.", "The approach has become a breach."),
    "by-hand": Text("Door een mens gegeven.", "Raised by a person."),
    "clear": Text("Er is geen overtreding.", "There is no breach."),
    "command-not-pending": Text(
        "Het antwoord hoort bij geen open vraag.", "The answer belongs to no open request."
    ),
    "confirmed": Text("De overtreding is bevestigd.", "The breach is confirmed."),
    "counted-since": Text("Sindsdien geteld.", "Counted since."),
    "covered-by-breach": Text(
        "De overtreding zelf zegt meer dan de nadering.",
        "The breach itself says more than the approach.",
    ),
    "deadline": Text("De termijn is verstreken.", "The deadline has passed."),
    "deferred": Text(
        "Er wordt nog niemand gewaarschuwd: het kan over zijn voordat het ertoe doet.",
        "Nobody is told yet: it may be over before it matters.",
    ),
    "every-alarm-returned": Text(
        "Alle oorzaken zijn voorbij.", "The causes of all alarms are over."
    ),
    "every-target-failed": Text("Niemand kon worden bereikt.", "Nobody could be reached."),
    "fall-of-wearer": Text(
        "Een val van de drager wordt alleen vastgelegd.", "A fall of a wearer is recorded only."
    ),
    "in-hand": Text("Iemand heeft het in behandeling.", "Somebody has it in hand."),
    "limit-of-notices-per-hour": Text(
        "Het hoogste aantal waarschuwingen in een uur is bereikt.",
        "The most notices in an hour have been sent.",
    ),
    "limit-of-pending-commands": Text(
        "Het hoogste aantal open vragen aan apparaten is bereikt.",
        "The most open requests to devices has been reached.",
    ),
    "location-order-waits-for-confirmation": Text(
        "Afwezigheid telt pas als zij bevestigd is.", "Absence counts only once it is confirmed."
    ),
    "longest-time": Text(
        "De langste tijd van onderdrukken is om.", "The longest time of suppression is over."
    ),
    "mass-loss": Text("Veel personen zwegen tegelijk.", "Many persons fell silent at once."),
    "mass-loss-over": Text("Het zwijgen van velen is voorbij.", "The silence of the many is over."),
    "more-than-silence": Text("Het is meer dan zwijgen.", "It is more than silence."),
    "most-are-heard-again": Text("De meesten melden zich weer.", "Most are heard again."),
    "no-alarm": Text(
        "Deze gebeurtenis is geen alarm; zij is vastgelegd.",
        "This event is no alarm; it is recorded.",
    ),
    "no-device-known": Text(
        "Van deze persoon is geen apparaat bekend.", "No device of this person is known."
    ),
    "no-pair-known": Text(
        "Er is geen ander bekend om afstand tot te houden.",
        "There is nobody known to keep away from.",
    ),
    "no-target-for-tests": Text("Er is niemand om een test te melden.", "A test goes to nobody."),
    "nobody-answered": Text("Niemand heeft geantwoord.", "Nobody has answered."),
    "nobody-to-tell": Text("Er was niemand te waarschuwen.", "There was nobody to tell."),
    "not-authenticated": Text(
        "Het apparaat heeft niet bewezen wie het is.", "The device did not prove who it is."
    ),
    "not-said-again": Text("Het is niet opnieuw gemeld.", "It was not said again."),
    "nothing-to-end": Text("Er was niets te beëindigen.", "There was nothing to end."),
    "order-not-enforceable": Text(
        "Het bevel is niet van kracht: wat gebeurt wordt vastgelegd en is geen overtreding.",
        "The order is not in force: what happens is recorded and is no breach.",
    ),
    "order-with-another-plan": Text(
        "Een ander bevel met een eigen plan is erbij gekomen.",
        "Another order with a plan of its own was added.",
    ),
    "over-before-it-mattered": Text(
        "Het was voorbij voordat iemand gewaarschuwd moest worden.",
        "It was over before anybody had to be told.",
    ),
    "passed-through": Text(
        "De weg tussen twee posities was een overtreding.",
        "The way between two positions was a breach.",
    ),
    "plan-has-no-step-for-class": Text(
        "Het plan heeft geen stap voor deze soort alarm.",
        "The plan has no step for this class of alarm.",
    ),
    "plan-not-known": Text("Het plan is niet bekend.", "The plan is not known."),
    "possible-below-threshold-of-risk-class": Text(
        "De kans is te klein voor een overtreding bij deze risicoklasse: het telt als nadering.",
        "The probability is too small for a breach in this risk class: it counts as an approach.",
    ),
    "possible-beyond-threshold-of-risk-class": Text(
        "De kans is groot genoeg om bij deze risicoklasse meteen als overtreding te tellen.",
        "The probability is large enough to count as a breach at once in this risk class.",
    ),
    "returned": Text("De oorzaak is voorbij.", "The cause is over."),
    "shelving-over": Text("De tijd van stilzetten is om.", "The time of silencing is over."),
    "signal-ended": Text("De melding van de dienst is voorbij.", "The signal is over."),
    "still-active-after-disposition": Text(
        "De oorzaak duurt voort nadat een mens het alarm sloot.",
        "The cause has lasted since a person closed the alarm.",
    ),
    "term-over": Text("De tijd is om.", "The time is over."),
    "tested-just-before": Text("Er is zojuist al getest.", "It was tested just before."),
    "time-over": Text("De tijd is om.", "The time is over."),
    "told-before": Text("Zij waren al gewaarschuwd.", "They were told before."),
    "warning": Text("Er is een waarschuwing.", "There is a warning."),
}
"""Reasons that the book gives in words of its own."""
