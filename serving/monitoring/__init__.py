"""Metrics, health and status of a role, served and polled (step 9).

Promises: a role that hangs holds up nobody who asks it.
"""

from .metrics import RoleMetrics
from .role_poller import RolePoller, poll_roles
from .role_server import RoleServer
from .status import ModelStatus, RoleReport, RoleStatus

__all__ = ["ModelStatus", "RoleMetrics", "RolePoller", "RoleReport", "RoleServer", "RoleStatus", "poll_roles"]
