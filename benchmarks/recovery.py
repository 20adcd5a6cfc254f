"""How fast a watch is back: a restart with a million entries since its snapshot, and pure replay."""
