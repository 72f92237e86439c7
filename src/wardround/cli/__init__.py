"""The commands: ``wardround NOUN VERB``, with data on stdout and all the rest on stderr."""

from wardround.cli.app import main

__all__ = ["main"]
