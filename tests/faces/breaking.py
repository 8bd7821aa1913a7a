"""A connection to a server that breaks where a test wants it to, as a bad network does: any protocol over TCP."""

from __future__ import annotations

import contextlib
import socket
import threading

_PIECE_BYTES = 1 << 16


class Breaking:
    """Passes bytes on to a server; after so many from the client it drops everything, or lets it hang.

    Args:
        port: Of the server, on loopback.

    Attributes:
        port: Where clients connect.
        count: Bytes that clients have sent.
        broken: Set once it broke.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._limit: int | None = None
        self._hang = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.count = 0
        self.broken = threading.Event()
        self._healed = threading.Event()
        self._healed.set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def breaks_after(self, count: int, *, hang: bool = False) -> None:
        """Breaks once clients have sent that many more bytes."""
        self.count, self._limit, self._hang = 0, count, hang
        self.broken.clear()
        self._healed.clear()

    def heal(self) -> None:
        """Works again, for new connections; what hung is dropped."""
        self._limit, self.count = None, 0
        self._healed.set()
        self._drop()

    def close(self) -> None:
        self.heal()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        self._drop()

    def _drop(self) -> None:
        for each in tuple(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            self._open |= {client, server}
            back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
            back.start()
            self._pass(client, server, True)
            back.join()
            self._open -= {client, server}

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE_BYTES):
                if counted:
                    self.count += len(data)
                    if self._limit is not None and self.count > self._limit:
                        self.broken.set()
                        if self._hang:
                            self._healed.wait()
                        break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
