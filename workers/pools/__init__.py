"""Worker pools, which run bodies in processes (Celery's own pool) or in threads."""
