"""Sending a command: journalled, then answered when the watch has applied it, or that it waits."""

import msgspec

from afstand.limits import CONSOLE_ANSWER_S_MAX
from console.api.http import Answer, Call
from console.api.problems import Code, Problem
from console.model.rows import START, Place
from console.ports import SentCommand, UnavailableError


class CommandView(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was journalled. `waiting`: no watch has come to it yet; it is not lost."""

    id: str
    state: str
    reason: str = ""


async def send(call: Call, partition: str, command: SentCommand) -> Answer:
    """Journal a command: 200 applied, 202 waiting, 409 refused, 503 perhaps not even journalled."""
    services = call.services
    try:
        at = await services.link.send(partition, command)
    except UnavailableError as error:
        raise Problem(
            Code.UNAVAILABLE, f"whether the command was journalled is not known: {error}"
        ) from None
    name = f"{partition}:{at}"
    applied = await services.hub.applied(partition, at, CONSOLE_ANSWER_S_MAX)
    if not applied:
        services.metrics.commands.labels("waiting").inc()
        return Answer(
            CommandView(id=name, state="waiting", reason="no watch has answered yet"),
            202,
            {"Location": f"/v1/commands/{name}"},
        )
    refusal = services.hub.refusal(partition, at)
    if refusal is not None:
        services.metrics.commands.labels("refused").inc()
        raise Problem(Code.REFUSED, refusal.words)
    services.metrics.commands.labels("applied").inc()
    return Answer(CommandView(id=name, state="applied"))


async def show_command(call: Call) -> CommandView:
    """What became of a command."""
    partition, colon, text = call.path("command_id").partition(":")
    hub = call.services.hub
    try:
        at = Place.parse(text)
    except ValueError:
        at = START
    if not colon or at == START or partition not in hub.partitions:
        raise Problem(Code.NOT_FOUND)
    name = f"{partition}:{at}"
    refusal = hub.refusal(partition, at)
    if refusal is not None:
        return CommandView(id=name, state="refused", reason=refusal.words)
    passed = hub.model.outbox_at.get(partition, START) >= at
    return CommandView(id=name, state="applied" if passed else "waiting")
