"""Sends what came on standard input as the reply to every request: what a reply costs when nothing makes it."""

import socket
import sys

# As large as our server's.
PART = 256 << 10


def main():
    body = memoryview(sys.stdin.buffer.read())
    parts = [body[start:start + PART] for start in range(0, len(body), PART)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while has_request(connection):
            reply(connection, parts)


def has_request(connection):
    """Reads one request, whose body comes with the head or right behind it and has no blank line."""
    text = b""
    while b"\r\n\r\n" not in text or not text.endswith(b"Version=2016-11-15"):
        more = connection.recv(1 << 16)
        if not more:
            return False
        text += more
    return True


def reply(connection, parts):
    length = sum(len(part) for part in parts)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
    for part in parts:
        connection.sendall(part)


main()
