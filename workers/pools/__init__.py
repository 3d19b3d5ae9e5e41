"""What a worker runs bodies in: processes, which is Celery's own pool, or threads."""
