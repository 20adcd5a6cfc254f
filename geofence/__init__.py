"""Orders, zones, tracks and kernels that turn fixes into verdicts. Pure: no clock, no network."""
