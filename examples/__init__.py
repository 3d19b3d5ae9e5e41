"""Example tasks on local files, in files by domain. ``JOBCLAIM_TASK_MODULES='["examples"]'`` registers them all."""

from examples import documents, maintenance, notifications, orders, plain, reports, websites

__all__ = ["documents", "maintenance", "notifications", "orders", "plain", "reports", "websites"]
