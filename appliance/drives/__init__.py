"""A drive's life: adopt, plan, fill, export, import, resume, eject (C3-C10)."""

from appliance.drives.drive import Drive
from appliance.drives.drives import Drives
from appliance.drives.errors import DriveError
from appliance.drives.export import Exports
from appliance.drives.ingest import Ingest
from appliance.drives.own import OwnMusic
from appliance.drives.source import DriveSource, Found
from appliance.drives.supply import Supply

__all__ = ["Drive", "DriveError", "DriveSource", "Drives", "Exports", "Found", "Ingest", "OwnMusic", "Supply"]
