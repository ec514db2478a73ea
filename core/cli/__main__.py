"""`python -m tracker.core.cli` is `tracker`."""

from . import main

main()
