"""What follows from a job's outcome: Celery's result, and the links of a chain, a group or a chord."""
