"""Whether a role can do its work, as its parts say."""

from __future__ import annotations

from collections.abc import Mapping


class Health:
    """The parts that must work and what is wrong with each.

    Ready = every part has reported and none has a problem.
    """

    def __init__(self, *parts: str) -> None:
        self._problems: dict[str, str] = dict.fromkeys(parts, "starting")

    @property
    def ready(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self._problems.values())

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong, by part; parts that work are not in it."""
        return {part: problem for part, problem in self._problems.items() if problem}

    def set(self, part: str, problem: str) -> None:
        """Report a part; an empty `problem` = it works."""
        self._problems[part] = problem
