"""A drive's life: adopt, plan, fill, resume, eject (C3-C8)."""

from appliance.drives.drive import Drive
from appliance.drives.drives import Drives
from appliance.drives.errors import DriveError
from appliance.drives.export import Exports
from appliance.drives.source import DriveSource, Found
from appliance.drives.supply import Supply

__all__ = ["Drive", "DriveError", "DriveSource", "Drives", "Exports", "Found", "Supply"]
