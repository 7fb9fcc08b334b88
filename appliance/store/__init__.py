"""The database: the single source of truth for tracks, queue, jobs and history (R1)."""

from appliance.store.db import Store

__all__ = ["Store"]
