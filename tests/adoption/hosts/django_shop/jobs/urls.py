"""Addresses of the jobs."""

from django.urls import path

from jobs import views

urlpatterns = [
    path("apply/", views.apply),
    path("apply/on-commit/", views.apply_on_commit),
    path("apply/callback/", views.apply_callback),
    path("apply/async/", views.apply_async),
    path("apply/async-thread/", views.apply_async_in_thread),
    path("<int:application_id>/", views.show),
]
