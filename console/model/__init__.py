"""The read model: what the console knows, folded from outbox and journal. Pure."""
