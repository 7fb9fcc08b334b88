"""The library on the box: sync, search, browse, history and playlists; only the sync needs the network."""

from appliance.library.library import Library
from appliance.library.search import Item
from appliance.library.sync import Cloud, SyncResult

__all__ = ["Cloud", "Item", "Library", "SyncResult"]
