"""Example tasks on local files, in files by domain. ``JOBCLAIM_TASK_MODULES='["examples"]'`` registers them all."""

from examples import approvals, documents, imports, maintenance, notifications, orders, plain, reports, websites

__all__ = [
    "approvals",
    "documents",
    "imports",
    "maintenance",
    "notifications",
    "orders",
    "plain",
    "reports",
    "websites",
]
