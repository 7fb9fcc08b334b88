"""The fault server by the name that tests of the fetcher know it by."""

from __future__ import annotations

from appliance.demo.faultserver import Answer, FaultServer, Hook, Seen

FileServer = FaultServer

__all__ = ["Answer", "FileServer", "Hook", "Seen"]
