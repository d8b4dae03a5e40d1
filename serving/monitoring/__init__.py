"""Metrics, health and status of a role: served by the role, polled by the page (step 9).

Promises: a role that hangs does not block whoever polls it.
"""

from .metrics import RoleMetrics
from .role_poller import RolePoller, poll_roles
from .role_server import RoleServer
from .status import ModelStatus, RoleReport, RoleStatus

__all__ = ["ModelStatus", "RoleMetrics", "RolePoller", "RoleReport", "RoleServer", "RoleStatus", "poll_roles"]
