"""sd_notify: tells systemd that the service is ready and alive, without its library.

The protocol is a datagram to the socket named by NOTIFY_SOCKET, where a leading @ means the abstract namespace
(sd_notify(3)).
"""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send for example `READY=1`; nothing happens outside systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto(state.encode(), address)
    except OSError:
        return  # a service that cannot tell is still a service


def watchdog_interval() -> float | None:
    """Seconds between two signs of life that systemd wants, half of its limit; None without a watchdog."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    return int(limit) / 2e6 if limit.isdigit() and int(limit) > 0 else None
