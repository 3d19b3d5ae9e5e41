"""The command line. Nothing heavier than click is imported before a command needs it."""
