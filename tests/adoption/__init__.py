"""jobclaim in somebody else's project: three sample projects, adopted by a diff and run from the built wheel."""
