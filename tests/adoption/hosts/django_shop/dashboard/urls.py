"""Addresses of the dashboard."""

from django.urls import path

from dashboard import views

urlpatterns = [
    path("figures/", views.figures),
    path("figures/refresh/", views.refresh),
    path("figures/<str:task_id>/", views.result),
]
