"""The order of the examples under ``kill -9``, beside the same order on plain Celery and with Powertools."""
