"""One file per command, named as the command and loaded on its first use; each offers `command`."""
