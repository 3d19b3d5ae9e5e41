"""Tests of the jobs; they pass by pytest and by Django's own runner."""

from unittest import mock

import pytest
from django.test import TestCase, TransactionTestCase
from shop.celery import app

from jobs.models import Application
from jobs.tasks import screen


class Screening(TestCase):
    """What the task does."""

    def test_a_direct_call_runs_the_body(self):
        application = Application.objects.create(name="Ada")
        with mock.patch("jobs.tasks.send_receipt.delay") as receipt:
            assert screen(application.pk) == {"application": application.pk}
        receipt.assert_called_once_with(application.pk)
        application.refresh_from_db()
        assert application.screenings == 1

    def test_apply_runs_it_here(self):
        application = Application.objects.create(name="Ada")
        with mock.patch("jobs.tasks.send_receipt.delay"):
            assert screen.apply(args=[application.pk]).get() == {"application": application.pk}


class Views(TransactionTestCase):
    """What a view sends."""

    def setUp(self):
        app.conf.task_always_eager = True  # Django's runner reads no conftest.py

    def apply(self, way):
        answer = self.client.post(f"/jobs/apply/{way}", {"name": "Ada"})
        assert answer.status_code == 202
        return Application.objects.get(pk=answer.json()["application"])

    def test_each_way_screens_and_thanks(self):
        for way in ("", "on-commit/", "callback/"):
            with self.subTest(way=way):
                application = self.apply(way)
                assert (application.screenings, application.receipts) == (1, 1)

    def test_nothing_is_sent_when_the_transaction_is_rolled_back(self):
        with (
            mock.patch("jobs.views.screen.delay_on_commit", side_effect=RuntimeError),
            pytest.raises(RuntimeError),
        ):
            self.apply("on-commit/")
        assert not Application.objects.exists()

    def test_a_plain_view_sends_once(self):
        with mock.patch("jobs.views.screen.delay") as delay:
            application = self.apply("")
        delay.assert_called_once_with(application.pk)


def test_the_tasks_are_routed():
    """The shop's own routes hold."""
    assert app.amqp.router.route({}, "jobs.tasks.send_receipt")["queue"].name == "mail"
    assert str(app.timezone) == "Europe/Berlin"
