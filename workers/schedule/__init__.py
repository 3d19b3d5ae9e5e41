"""Beat: every tick of a schedule is one job."""
