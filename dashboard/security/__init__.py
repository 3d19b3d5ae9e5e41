"""Guards between a browser and the dashboard: small ASGI middleware, each with one decision.

::

    headers ▸ limits ▸ host ▸ cross-site ▸ access ▸ form ▸ pages
"""

from __future__ import annotations

from jobclaim.dashboard.security.access import Access, AccessGuard, RefusedToServe, access_of, check_bind
from jobclaim.dashboard.security.asgi import App
from jobclaim.dashboard.security.cross_site import CrossSiteGuard
from jobclaim.dashboard.security.headers import HeaderGuard
from jobclaim.dashboard.security.hosts import HostGuard
from jobclaim.dashboard.security.limits import FormGuard, LimitGuard
from jobclaim.settings import Settings

__all__ = ["Access", "RefusedToServe", "access_of", "check_bind", "guarded"]


def guarded(app: App, settings: Settings, access: Access) -> App:
    """Wrap an ASGI app in every guard; a request that one of them refuses never reaches ``app``."""
    inner = CrossSiteGuard(AccessGuard(FormGuard(app), access=access))
    return HeaderGuard(LimitGuard(HostGuard(inner, allowed=settings.dashboard_hosts)))
