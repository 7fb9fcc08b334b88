"""HLS: a playlist of segments, fetched as one file (P2).

The segments of a playlist that has an end, one after the other and headed by their initialisation section, are a
progressive file that any demuxer reads: MPEG-TS, packed AAC or MP3, fragmented MP4. That file is what the cache keeps.
`playlist` reads playlists, `plan` knows which byte of the file is in which segment, `source` talks to the servers.
"""

from appliance.stream.hls.plan import Plan
from appliance.stream.hls.source import PATIENCE, Source, load, measure, receive

__all__ = ["PATIENCE", "Plan", "Source", "load", "measure", "receive"]
