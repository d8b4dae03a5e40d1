"""The command line, with one file for each group of commands.

A command imports what it needs only when it runs, so that `--help` is quick.
"""

from .app import app
from .run import main

__all__ = ["app", "main"]
