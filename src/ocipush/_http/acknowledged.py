"""How much of what was sent the other side has not acknowledged, where the system tells."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

UNKNOWN = -1  # less than any number of bytes


def unacknowledged(sock: socket.socket) -> int:
    """Bytes that were sent and are not acknowledged yet; less than 0 if the system does not tell (all but Linux)."""
    if sys.platform == "linux":
        try:
            import fcntl
            import termios
        except ImportError:
            return UNKNOWN
        return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return UNKNOWN
