"""Does a device keep the contract? A script that tries it, and judges of what it then said."""

from firmware_contracts.conformance.case import Result
from firmware_contracts.conformance.judge import JUDGED, Evidence, Verdict, judge
from firmware_contracts.conformance.log import (
    Did,
    Ended,
    Heard,
    Item,
    LogError,
    Patience,
    Purpose,
    Stimulus,
    Told,
    Withheld,
    read,
    written,
)
from firmware_contracts.conformance.script import Action, Do, Examiner, Phase, Tell
from firmware_contracts.topics import Lane

__all__ = [
    "JUDGED",
    "Action",
    "Did",
    "Do",
    "Ended",
    "Evidence",
    "Examiner",
    "Heard",
    "Item",
    "Lane",
    "LogError",
    "Patience",
    "Phase",
    "Purpose",
    "Result",
    "Stimulus",
    "Tell",
    "Told",
    "Verdict",
    "Withheld",
    "judge",
    "read",
    "written",
]
