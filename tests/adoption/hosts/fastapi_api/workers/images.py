"""Work on images."""

from settings import settings
from workers.celery_app import app


def append(name: str, line: str) -> None:
    """Add a line to a file of the storage."""
    with (settings.storage / name).open("a") as file:
        file.write(line + "\n")


@app.task(bind=True, max_retries=3)
def thumbnail(self, name: str, width: int) -> dict[str, str | int]:
    """Make a thumbnail; the first try of a large one comes too early."""
    if name.startswith("large") and self.request.retries == 0:
        raise self.retry(countdown=1)
    append(f"{name}.txt", f"{name} at {width}")
    return {"name": name, "width": width}
