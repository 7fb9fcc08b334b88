"""libmpv by way of python-mpv's ctypes bindings, kept to what the engine needs.

python-mpv's `MPV` class is not used: its stream callbacks crash when one URI is open twice, its constructor leaves a
running core behind on a bad option, and its events arrive on a thread of their own. Everything here that takes the
core's time is asynchronous, so the caller never waits for a core that waits for a sound card.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

# find_library starts ldconfig or a compiler to find a name that is fixed by libmpv's ABI.
_find_library = ctypes.util.find_library
ctypes.util.find_library = lambda name: "libmpv.so.2" if name == "mpv" else _find_library(name)
try:
    import mpv
except OSError:
    ctypes.util.find_library = _find_library  # an older ABI, or another place
    import mpv
finally:
    ctypes.util.find_library = _find_library

# mpv: loaded this way for the others too.
__all__ = ["END_REASONS", "NOTHING", "Core", "Id", "error_text", "lib", "mpv"]
lib = mpv.backend
lib.mpv_hook_add.argtypes = [mpv.MpvHandle, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_int]
lib.mpv_hook_continue.argtypes = [mpv.MpvHandle, ctypes.c_uint64]
Id = mpv.MpvEventID
NOTHING = -16  # MPV_ERROR_NOTHING_TO_PLAY: the data ended before the first sample
END_REASONS = {0: "eof", 2: "stop", 3: "stop", 4: "error", 5: "redirect"}


class Core:
    """One mpv core. Raises OSError or ValueError, in one line, when it cannot be made."""

    def __init__(self, options: dict[str, str], optional: dict[str, str]) -> None:
        """`optional` holds options that not every version knows."""
        self.handle = lib.mpv_create()
        if not self.handle:
            raise OSError("libmpv could not be started")
        for name, value in options.items():
            try:
                lib.mpv_set_option_string(self.handle, name.encode(), value.encode())
            except Exception as error:
                raise ValueError(f"libmpv refuses {name}={value}: {error}") from None
        for name, value in optional.items():
            try:
                lib.mpv_set_option_string(self.handle, name.encode(), value.encode())
            except Exception:  # noqa: S112  that version does without
                continue
        lib.mpv_initialize(self.handle)
        lib.mpv_request_log_messages(self.handle, b"warn")

    def command(self, tag: int, name: str, **args: str) -> None:
        """Queue a command; its reply comes as an event with `tag`."""
        values = {"name": name, **args}
        keys = (ctypes.c_char_p * len(values))(*[key.encode() for key in values])
        nodes = (mpv.MpvNode * len(values))()
        for node, value in zip(nodes, values.values(), strict=True):
            node.format = mpv.MpvFormat.STRING
            node.val.string = value.encode()
        table = mpv.MpvNodeList(num=len(values), values=nodes, keys=keys)
        root = mpv.MpvNode(format=mpv.MpvFormat.NODE_MAP, val=mpv.MpvNodeUnion(map=ctypes.pointer(table)))
        lib.mpv_command_node_async(self.handle, tag, ctypes.pointer(root))

    def set(self, name: str, value: str) -> None:
        """Queue the change of a property."""
        text = ctypes.c_char_p(value.encode())
        lib.mpv_set_property_async(self.handle, 0, name.encode(), mpv.MpvFormat.STRING, ctypes.byref(text))

    def set_now(self, name: str, value: str) -> None:
        """Change a property and wait for it; only where the core is known to listen (inside a hook)."""
        lib.mpv_set_property_string(self.handle, name.encode(), value.encode())

    def get_now(self, name: str) -> Any:
        """Value of a property, None when it has none; only inside a hook."""
        node = mpv.MpvNode()
        try:
            lib.mpv_get_property(self.handle, name.encode(), mpv.MpvFormat.NODE, ctypes.byref(node))
        except Exception:
            return None
        try:
            return node.node_value(mpv.lazy_decoder)
        finally:
            lib.mpv_free_node_contents(ctypes.byref(node))

    def ask(self, tag: int, name: str) -> None:
        """Ask for a property; the reply comes as an event with `tag`."""
        lib.mpv_get_property_async(self.handle, tag, name.encode(), mpv.MpvFormat.NODE)

    def observe(self, *names: str) -> None:
        for name in names:
            lib.mpv_observe_property(self.handle, 0, name.encode(), mpv.MpvFormat.NODE)

    def hook(self, name: str) -> None:
        lib.mpv_hook_add(self.handle, 0, name.encode(), 0)

    def resume(self, hook: int) -> None:
        lib.mpv_hook_continue(self.handle, hook)

    def serve(self, protocol: str, opener: Any) -> None:
        """Let `opener`, a ctypes callback that the caller keeps alive, open `protocol`:// addresses."""
        lib.mpv_stream_cb_add_ro(self.handle, protocol.encode(), None, opener)

    def wait(self, seconds: float) -> Any:
        """The next event, or None after `seconds`; valid until the next call."""
        event = lib.mpv_wait_event(self.handle, seconds).contents
        return None if event.event_id.value == Id.NONE else event

    def wake(self) -> None:
        """End a `wait` in another thread."""
        lib.mpv_wakeup(self.handle)


def error_text(code: int) -> str:
    """mpv's words for an error code."""
    text: bytes = lib.mpv_error_string(code)
    return text.decode("utf-8", "replace")
