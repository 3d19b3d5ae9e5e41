"""Notes of what happened, a line each."""

import os


def write(line):
    """Add a line to the notes."""
    with open(os.environ.get("PROJ_NOTES", "notes.txt"), "a") as file:
        file.write(line + "\n")
