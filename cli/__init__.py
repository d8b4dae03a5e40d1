"""The command line: one file a group of commands. Each imports what it needs when it runs, so that `--help` is
quick."""

from .app import app
from .run import main

__all__ = ["app", "main"]
