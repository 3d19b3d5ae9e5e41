"""Tests of the API."""

from unittest import mock

import pytest
from celery.exceptions import Retry
from cli import main
from fastapi.testclient import TestClient
from main import app
from workers.celery_app import app as celery_app
from workers.images import thumbnail

client = TestClient(app)


@pytest.mark.parametrize("way", ["", "/async", "/thread", "/background"])
def test_each_endpoint_starts_a_thumbnail(way, storage):
    assert client.post(f"/thumbnails/cat{way}").status_code == 202
    assert (storage / "cat.txt").read_text() == "cat at 80\n"


def test_a_mail_is_sent(storage):
    assert client.post("/mails/cat").json()["task"]
    assert (storage / "mails.txt").read_text() == "cat\n"


def test_the_command_line_starts_one_for_each_name(storage, capsys):
    main(["cat", "dog"])
    assert len(capsys.readouterr().out.split()) == 2
    assert {path.name for path in storage.iterdir()} == {"cat.txt", "dog.txt"}


def test_a_large_image_is_tried_again(storage):
    with mock.patch.object(thumbnail, "retry", side_effect=Retry) as retry, pytest.raises(Retry):
        thumbnail("large", width=80)
    retry.assert_called_once_with(countdown=1)
    assert thumbnail.delay("large", width=80).get() == {"name": "large", "width": 80}


def test_images_have_a_queue_of_their_own():
    assert celery_app.amqp.router.route({}, "workers.images.thumbnail")["queue"].name == "images"
