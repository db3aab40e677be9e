"""The verbs that a person types."""

from nextpatch.cli.command import main as main
