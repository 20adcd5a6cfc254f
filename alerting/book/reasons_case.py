"""The words of the case around the alarm, each with its sentence."""

from typing import Final

from alerting.book.case_words import CaseChange
from alerting.book.classes import Text

CASE_CHANGES: Final[dict[CaseChange, Text]] = {
    CaseChange.SCREENED: Text("Het risico is gescreend.", "The risk was screened."),
    CaseChange.REVIEW_DUE: Text(
        "De zaak moet opnieuw worden besproken.", "A review of the case is due."
    ),
    CaseChange.REVIEWED: Text("De zaak is besproken.", "The case was reviewed."),
    CaseChange.SCALE_DOWN_PROPOSED: Text(
        "Zes maanden zonder incident: afschalen wordt voorgesteld.",
        "Six months without an incident: scaling down is proposed.",
    ),
    CaseChange.CHECK_IN_SET: Text(
        "Afgesproken is hoe vaak de beschermde persoon van zich laat horen.",
        "It was agreed how often the protected person is heard.",
    ),
    CaseChange.CHECK_IN_DUE: Text("Het is tijd voor een bericht.", "A check-in is due."),
    CaseChange.CHECK_IN_MISSED: Text(
        "Er kwam geen bericht van de beschermde persoon.",
        "The protected person was not heard.",
    ),
    CaseChange.CHECKED_IN: Text(
        "De beschermde persoon liet van zich horen.", "The protected person was heard."
    ),
    CaseChange.ACTIVATION_BEGUN: Text(
        "Een knop wordt in dienst gesteld.", "A button is being made live."
    ),
    CaseChange.ACTIVATION_STEP: Text(
        "Een stap van de indienststelling is gedaan.", "A step of the activation was done."
    ),
    CaseChange.ACTIVATED: Text("De knop werkt en is getest.", "The button is live and tested."),
    CaseChange.ACTIVATION_LATE: Text(
        "De knop was niet op tijd in dienst.", "The button was not live in time."
    ),
    CaseChange.CAUSE_TOLD: Text(
        "De oorzaak is aan de beschermde persoon uitgelegd.",
        "The cause was explained to the protected person.",
    ),
}

CASE_WHYS: Final[dict[str, Text]] = {
    "review-due": Text(
        "Lang niet besproken: de zaak moet opnieuw worden besproken.",
        "Not reviewed for long: a review of the case is due.",
    ),
    "reviewed": Text("De zaak is besproken.", "The case was reviewed."),
    "scale-down-proposed": Text(
        "Zes maanden zonder incident: afschalen wordt voorgesteld.",
        "Six months without an incident: scaling down is proposed.",
    ),
    "order-below-screening": Text(
        "Een maatregel heeft een lagere risicoklasse dan de screening.",
        "An order has a lower risk class than the screening.",
    ),
    "check-in-due": Text(
        "Het is tijd om van de beschermde persoon te horen.",
        "The protected person is to be heard now.",
    ),
    "check-in-missed": Text(
        "Er kwam geen bericht van de beschermde persoon.",
        "The protected person was not heard.",
    ),
    "heard-again": Text("De beschermde persoon is gehoord.", "The protected person was heard."),
    "asks-to-be-called": Text(
        "De beschermde persoon vraagt om gebeld te worden.",
        "The protected person asks to be called.",
    ),
    "activation-begun": Text(
        "Een knop moet in dienst worden gesteld.", "A button is to be made live."
    ),
    "activation-late": Text("De knop is nog niet in dienst.", "The button is not live yet."),
    "activated": Text("De knop werkt en is getest.", "The button is live and tested."),
}
