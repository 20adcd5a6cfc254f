"""How fast a watch is back: with a million entries since its snapshot, and in pure replay."""
