"""Beat: every tick of a schedule is a job of its own."""
