"""Endpoints, in each way in which FastAPI can start a task."""

from celery.result import AsyncResult
from fastapi import APIRouter, BackgroundTasks
from starlette.concurrency import run_in_threadpool
from workers.celery_app import app as celery_app
from workers.images import thumbnail
from workers.mail import notify

router = APIRouter()


@router.post("/thumbnails/{name}", status_code=202)
def from_a_def(name: str) -> dict[str, str]:
    """Start it from FastAPI's thread pool."""
    return {"task": thumbnail.delay(name, width=80).id}


@router.post("/thumbnails/{name}/async", status_code=202)
async def from_an_async_def(name: str) -> dict[str, str]:
    """Start it from the event loop."""
    return {"task": thumbnail.delay(name, width=80).id}


@router.post("/thumbnails/{name}/thread", status_code=202)
async def from_a_thread(name: str) -> dict[str, str]:
    """Start it from a thread that the event loop waits for."""
    result = await run_in_threadpool(thumbnail.apply_async, args=[name], kwargs={"width": 80})
    return {"task": result.id}


@router.post("/thumbnails/{name}/background", status_code=202)
def in_the_background(name: str, background: BackgroundTasks) -> dict[str, str]:
    """Start it after the answer."""
    background.add_task(thumbnail.delay, name, width=80)
    return {}


@router.post("/mails/{name}", status_code=202)
def mail(name: str) -> dict[str, str]:
    """Start a shared task from FastAPI's thread pool."""
    return {"task": notify.delay(name).id}


@router.get("/tasks/{task_id}")
def show(task_id: str) -> dict[str, str]:
    """Show how far a task has come."""
    return {"state": AsyncResult(task_id, app=celery_app).state}
