"""Free TCP ports of this host that stay ours until the workers listen on them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

HOST = "127.0.0.1"


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[tuple[int, ...]]:
    """Gives `count` different free ports, and keeps all others off them for as long as the context lasts.

    The port is bound but nothing listens on it. Linux gives such a port to nobody who asks for any free one, and still
    lets a server that names it bind it beside us, if both set SO_REUSEADDR (gRPC does). So there is no moment at which
    another program could take it.
    """
    with contextlib.ExitStack() as sockets:
        ports = []
        for _ in range(count):
            holder = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((HOST, 0))
            ports.append(int(holder.getsockname()[1]))
        yield tuple(ports)
