"""The audio engine: libmpv in a process of its own, and the facade that the player process talks to.

    Engine           start, load, set_next, pause, seek, volume; restores the child when it dies
    Entry            one play of one track
    StreamView       what the engine must know about a cache file
    EngineEvent ...  what it announces, on the asyncio loop

The names are resolved on first use: the child process imports this package too and must not pay for asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appliance.engine.facade import Engine
    from appliance.engine.model import (
        AudioChanged,
        EngineDown,
        EngineEvent,
        EngineUp,
        Entry,
        EntryEnded,
        EntryStarted,
        Idle,
        OutputBack,
        OutputLost,
        Position,
        ReadPosition,
        StreamView,
    )

__all__ = [
    "AudioChanged",
    "Engine",
    "EngineDown",
    "EngineEvent",
    "EngineUp",
    "Entry",
    "EntryEnded",
    "EntryStarted",
    "Idle",
    "OutputBack",
    "OutputLost",
    "Position",
    "ReadPosition",
    "StreamView",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Engine":
        from appliance.engine.facade import Engine

        return Engine
    from appliance.engine import model

    return getattr(model, name)
