"""A name server on the loopback interface, as a cluster has one, that knows a single service."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from types import TracebackType

_A = 1
_ANSWER = 0x8180  # a response, recursion available, no error
_NAME_OF_THE_QUESTION = 0xC00C


class DnsServer:
    """Answers every question for IPv4 addresses with `addresses`, which may change meanwhile."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> DnsServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            message, asker = self._socket.recvfrom(512)
            if not message:
                return
            self._socket.sendto(self._answer(message), asker)

    def _answer(self, message: bytes) -> bytes:
        end = message.index(b"\0", 12) + 5  # of the name, its type and class
        (wanted,) = struct.unpack_from(">H", message, end - 4)
        found = self.addresses if wanted == _A else []
        records = b"".join(
            struct.pack(">HHHIH", _NAME_OF_THE_QUESTION, _A, 1, 0, 4) + socket.inet_aton(address)
            for address in found
        )
        head = struct.pack(">HHHHH", _ANSWER, 1, len(found), 0, 0)
        return message[:2] + head + message[12:end] + records
