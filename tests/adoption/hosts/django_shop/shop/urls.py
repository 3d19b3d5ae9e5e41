"""Addresses of the shop."""

from django.urls import include, path

urlpatterns = [
    path("jobs/", include("jobs.urls")),
    path("dashboard/", include("dashboard.urls")),
]
