"""Configuration, command line.

The watch, wiring and demo: the only package that knows all others.
"""

from typing import Final

__version__: Final = "0.1.0"
