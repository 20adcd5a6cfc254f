"""The watch: a pure, deterministic fold over the journal, and the replica that runs it."""
