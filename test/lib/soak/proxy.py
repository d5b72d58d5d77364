"""A network between the server and the broker that can be cut (connections reset, new ones refused) or can stall (bytes are held)."""
import select
import socket
import struct
import threading


class Proxy(threading.Thread):
    """Forwards connections of one port of 127.0.0.1 to another. mode: "open", "cut" or "stalled"."""

    def __init__(self, port, target):
        super().__init__(daemon=True)
        self.target, self.mode, self._ended = target, "open", False
        self._listener = socket.create_server(("127.0.0.1", port))
        self._pairs = {}

    def run(self):
        while not self._ended:
            mode = self.mode
            if mode == "cut":
                for one in list(self._pairs):
                    self._drop(one)
            watched = [self._listener] + (list(self._pairs) if mode == "open" else [])
            for ready in select.select(watched, [], [], 0.05)[0]:
                if ready is self._listener:
                    self._accept()
                elif ready in self._pairs:
                    self._forward(ready)

    def end(self):
        self._ended = True

    def _accept(self):
        client, _ = self._listener.accept()
        try:
            if self.mode == "cut":
                raise OSError("cut")
            broker = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            self._reset(client)
            return
        for one in (client, broker):
            # a peer that does not read must not hold up the others for ever
            one.settimeout(10)
        self._pairs[client], self._pairs[broker] = broker, client

    def _forward(self, one):
        try:
            data = one.recv(1 << 16)
            if data:
                self._pairs[one].sendall(data)
                return
        except OSError:
            pass
        self._drop(one)

    def _drop(self, one):
        other = self._pairs.pop(one, None)
        if other is not None:
            self._pairs.pop(other, None)
            self._reset(other)
            self._reset(one)

    @staticmethod
    def _reset(one):
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        one.close()
