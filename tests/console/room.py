"""A watch and a read model over one journal in memory, for tests of the console's core."""

from collections.abc import Iterable

from afstand.commands import JournalCommand
from afstand.console_feed import journal_input, outbox_input
from afstand.watch.fold import Watch
from alerting.book.types import Countersign, Dispose, Disposition, Output
from console.model.inputs import ModelInput
from console.model.model import Model
from console.model.rows import IncidentRow
from ingest.entries import Entry, FrameRecord
from ingest.outbox import OutboxEntry
from tests.afstand.journal import Journal, definitions, outputs_of

PARTITION = "p"


class Room:
    """Everything that happens goes through the fold, and from its outbox to the model."""

    def __init__(self, *, with_definitions: bool = True) -> None:
        self.journal = Journal()
        self.watch = Watch(PARTITION)
        self.model = Model()
        self.journal_inputs: list[ModelInput] = []
        self.outbox_inputs: list[ModelInput] = []
        if with_definitions:
            for command in definitions():
                self.command(command)

    def take(self, entry: Entry) -> list[Output]:
        """Fold one entry of the journal on both sides; gives the outputs."""
        step = self.watch.step(entry)
        if step.blob is not None:
            said = outbox_input(PARTITION, OutboxEntry(entry.id, step.blob))
            self.outbox_inputs.append(said)
            self.model.fold(said)
        fact = journal_input(PARTITION, entry)
        if fact is not None:
            self.journal_inputs.append(fact)
            self.model.fold(fact)
        return outputs_of(step)

    def command(self, command: JournalCommand) -> list[Output]:
        return self.take(self.journal.command(command))

    def frames(self, *records: FrameRecord) -> list[Output]:
        return self.take(self.journal.frames(*records))

    def tick(self, after_s: float) -> list[Output]:
        self.journal.pass_s(after_s)
        return self.take(self.journal.tick())

    def close(self, incident_id: str, disposition: Disposition) -> list[Output]:
        """Close an incident by two persons: op-2 proposes, op-3 signs."""
        said = self.command(
            Dispose(incident_id=incident_id, by="op-2", disposition=disposition, note="as said")
        )
        row = self.model.incidents.rows[incident_id]
        if row.closing is not None:
            said += self.command(Countersign(incident_id=incident_id, by="op-3"))
        return said

    def only_incident(self) -> IncidentRow:
        (row,) = self.model.incidents.open_rows()
        return row


def folded(inputs: Iterable[ModelInput]) -> Model:
    """A new model of these inputs."""
    model = Model()
    for said in inputs:
        model.fold(said)
    return model
