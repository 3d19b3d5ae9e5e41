"""The project's Celery app: ``celery -A proj worker``."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ.get("PROJ_BROKER", "sqs://"), include=["proj.tasks"])

# Optional configuration, see the application user guide.
app.conf.update(
    result_expires=3600,
    timezone="Asia/Tokyo",
    task_routes={"proj.tasks.mul": {"queue": "math"}},
    beat_schedule={
        "every-so-often": {
            "task": "proj.tasks.note",
            "schedule": float(os.environ.get("PROJ_NOTE_SECONDS", "600")),
            "args": ("ticked",),
        },
    },
)

if __name__ == "__main__":
    app.start()
