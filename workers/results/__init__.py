"""What follows from a job's end: Celery's result, the links of a chain, a group, a chord."""
