"""Bytes of a track: ranges, sparse files, the fetcher and the cache that keeps them."""

from appliance.stream.cache import Cache
from appliance.stream.entry import CacheEntry
from appliance.stream.fetcher import Fetcher
from appliance.stream.need import Demand, Role

__all__ = ["Cache", "CacheEntry", "Demand", "Fetcher", "Role"]
