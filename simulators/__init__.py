"""People, GNSS error, devices, networks, scenarios with ground truth, receivers, load."""
