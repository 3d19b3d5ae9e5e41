"""A caller's writes that are made together with a job's own: all of them, or none."""
