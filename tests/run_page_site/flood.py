"""A body that is larger than any server should read."""

from __future__ import annotations

import socket

BODY = 50 << 20
FRAMINGS = (f"Content-Length: {BODY}", "Transfer-Encoding: chunked")


def flood(port: int, request: str, framing: str, headers: str = "") -> tuple[int, bytes]:
    """
    Send 50 MB until the server has had enough; returns what was sent of them, and its answer, empty after a reset.

    :param port: Of the server, on loopback.
    :param request: Method and path.
    :param framing: One of :data:`FRAMINGS`.
    :param headers: Further ones, each with its line's end.
    """
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n{headers}{framing}\r\n\r\n".encode())
        piece = bytes(1 << 16)
        chunk = b"10000\r\n" + piece + b"\r\n" if "chunked" in framing else piece
        sent = 0
        try:
            while sent < BODY:
                connection.sendall(chunk)
                sent += len(piece)
        except OSError:
            pass  # it did not want to hear the rest
        try:
            answer = connection.recv(1 << 16)
        except ConnectionResetError:
            answer = b""
    return sent, answer
