"""`python -m afstand`: the same as the command `afstand`."""

import sys

from afstand.cli import main

sys.exit(main())
