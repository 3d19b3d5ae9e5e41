"""The project's own log format, in its worker too."""

import logging

from celery.signals import setup_logging


@setup_logging.connect
def configure(loglevel=None, **options):
    """Log in one format everywhere."""
    logging.basicConfig(level=loglevel, format="proj %(levelname)s %(name)s %(message)s")
