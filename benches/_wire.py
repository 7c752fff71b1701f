"""Clients that send requests made beforehand, one at a time on one connection, and leave the answers as bytes.

What they measure is the server and the kernel's sockets: an official client spends more time on a request than a search
through an index takes.
"""

import itertools
import socket
import struct
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FRAME = 16_384
"""The most bytes of a frame that any server takes."""
ROOM = 50_000
"""The most bytes of a message: within the window that a new stream has."""
WIDE = 2**31 - 1


class Wire:
    """A connection and what was read ahead on it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _more(self) -> None:
        some = self._socket.recv(1 << 18)
        if not some:
            raise ConnectionError("the server closed the connection")
        self._read += some

    def _take(self, length: int) -> bytes:
        while len(self._read) < length:
            self._more()
        taken, self._read = self._read[:length], self._read[length:]
        return taken


class Grpc(Wire):
    """Unary calls of gRPC over HTTP/2 (RFC 9113), with header fields that need no table (RFC 7541, section 6.2.2)."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._streams = itertools.count(1, 2)
        self._authority = f"127.0.0.1:{port}".encode()
        # Windows so wide that answers never need new room.
        settings = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, WIDE))
        self._socket.sendall(PREFACE + settings + frame(WINDOW, 0, 0, struct.pack(">I", WIDE - 65_535)))

    def headers(self, path: str) -> bytes:
        """The header fields of a call of a method."""
        post_over_http = b"\x83\x86"
        named = b"\x04" + text(path.encode()) + b"\x01" + text(self._authority)
        return post_over_http + named + b"\x0f\x10" + text(b"application/grpc") + b"\x00" + text(b"te") + text(b"trailers")

    def ask(self, headers: bytes, message: bytes) -> bytes:
        """The message that answers; raises `RuntimeError` where there is none."""
        assert len(message) < ROOM
        stream = next(self._streams)
        body = b"\x00" + struct.pack(">I", len(message)) + message
        pieces = [body[at : at + FRAME] for at in range(0, len(body), FRAME)]
        out = frame(HEADERS, END_HEADERS, stream, headers)
        for number, piece in enumerate(pieces, 1):
            out += frame(DATA, END_STREAM if number == len(pieces) else 0, stream, piece)
        self._socket.sendall(out)
        return self._answer(stream)

    def _answer(self, stream: int) -> bytes:
        answer = b""
        while True:
            head = self._take(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            of = int.from_bytes(head[5:], "big")
            payload = self._take(length)
            if kind == DATA and of == stream:
                answer += payload
            elif kind in (SETTINGS, PING) and not flags & ACK:
                self._socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
            elif kind == GOAWAY or (kind == RESET and of == stream):
                raise RuntimeError(f"the server ended the call: {payload!r}")
            if of == stream and kind in (DATA, HEADERS) and flags & END_STREAM:
                if not answer:
                    raise RuntimeError(f"no message: {payload!r}")
                return answer[5:]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def text(value: bytes) -> bytes:
    """A string of a header field."""
    assert len(value) < 127
    return bytes((len(value),)) + value


class Rest(Wire):
    """Requests of HTTP/1.1 that say how long they are, as do the answers."""

    def headers(self, path: str) -> bytes:
        """All of a POST's head but how long it is."""
        return f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n".encode()

    def ask(self, headers: bytes, body: bytes) -> bytes:
        """The body that answers; raises `RuntimeError` unless the status is 200."""
        self._socket.sendall(headers + b"content-length: %d\r\n\r\n" % len(body) + body)
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            self._more()
        head = self._take(end + 4).lower()
        length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        answer = self._take(length)
        if not head.startswith(b"http/1.1 200 "):
            raise RuntimeError(f"{head!r}: {answer!r}")
        return answer
