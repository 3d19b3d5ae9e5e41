"""Tasks run where they are called, so that the tests need no worker."""

from shop.celery import app

app.conf.task_always_eager = True
