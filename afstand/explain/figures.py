"""Numbers as people of a country write them."""

from typing import Final

from afstand.explain.sentences import Language

_MARKS: Final = {"nl": (".", ","), "en": (",", ".")}


class Figures:
    """Figures of the records as text: the last digit is rounded, nothing is hidden by it."""

    def __init__(self, language: Language) -> None:
        self._thousand, self._point = _MARKS[language]

    def number(self, value: float, digits: int) -> str:
        """A number with so many digits behind the mark."""
        text = f"{value:,.{digits}f}"
        return text.translate({ord(","): self._thousand, ord("."): self._point})

    def metres(self, metres: int) -> str:
        """A length of an order."""
        return f"{self.number(metres, 0)} m"

    def metres_of_mm(self, length_mm: int) -> str:
        """A measured length: decimetres, from ten kilometres on kilometres."""
        if length_mm >= 10_000_000:
            return f"{self.number(length_mm / 1_000_000, 1)} km"
        return f"{self.number(length_mm / 1000, 1)} m"

    def seconds(self, span_ms: int) -> str:
        """A span of time."""
        if span_ms < 120_000:
            return f"{self.number(span_ms / 1000, 1)} s"
        minutes = span_ms / 60_000
        return f"{self.number(minutes, 0)} min" if minutes < 120 else self._hours(minutes)

    def _hours(self, minutes: float) -> str:
        return f"{self.number(minutes / 60, 1)} h"

    def percent_1024(self, value_1024: int) -> str:
        """A probability in 1/1024."""
        return f"{self.number(value_1024 / 10.24, 1)} %"

    def of_1024(self, value_1024: int) -> str:
        """Evidence in 1/1024."""
        return self.number(value_1024 / 1024, 2)

    def speed(self, speed_mm_s: int) -> str:
        """A speed."""
        return f"{self.number(speed_mm_s * 0.0036, 1)} km/h"
