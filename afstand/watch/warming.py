"""Compiling everything that a watch runs before it is ready."""

from afstand.watch import kernels, plain
from geofence import warming
from ingest import bulk_read


def warm_up() -> None:
    """Compile the kernels of engine, fold and reader, or load them."""
    warming.warm_up()
    kernels.warm_up()
    plain.warm_up()
    bulk_read.warm_up()
