"""The whole service on a simulated network, clock and store: seeded, and the same every time."""
