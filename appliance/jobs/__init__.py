"""Durable background work: every long task is a row that survives the plug (R1, R5, R7-R9)."""

from appliance.jobs.jobs import Context, Jobs
from appliance.jobs.retry import Retry
from appliance.jobs.rows import Info

__all__ = ["Context", "Info", "Jobs", "Retry"]
