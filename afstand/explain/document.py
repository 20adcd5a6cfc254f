"""The reference of reasons: docs/reasons.md, made from the sentences that the program prints.

`python -m afstand.explain.document > docs/reasons.md` writes it anew; a test fails while it is not
current.
"""

import sys
from collections.abc import Iterator

from afstand.explain.sentences import GROUPS, Group

INTRODUCTION = """\
# What every reason means

Generated from the program by `python -m afstand.explain.document`; do not edit by hand.

Every decision carries a reason: a word that never changes its meaning. These are all of them, with
the sentences that `afstand explain` prints. `afstand explain ALARM` tells an alarm or an incident
from what was recorded then, in the order in which a judge would read it: who and by which order;
which area in which version; what was measured and when it was known; how sure it was and how the
evidence grew against its threshold; what was done about it; by which version of the rules.
"""


def render() -> str:
    """The whole document."""
    lines = [INTRODUCTION]
    for group in GROUPS:
        lines += _section(group)
    return "\n".join(lines).rstrip() + "\n"


def _section(group: Group) -> Iterator[str]:
    yield f"## {group.title}"
    yield ""
    yield "| word | Nederlands | English |"
    yield "| --- | --- | --- |"
    for word, text in group.sentences.items():
        yield f"| `{word}` | {text.nl} | {text.en} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(render())
