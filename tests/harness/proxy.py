"""A proxy in front of an S3 endpoint that refuses what a test wants refused, or is as slow as a test wants it."""

import http.client
import random
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WRITES = {"PUT", "POST", "DELETE"}
REFUSALS = {
    "read-only": (403, "AccessDenied", "Access Denied."),
    "forbidden": (403, "InvalidAccessKeyId", "The access key does not exist."),
    "full": (507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."),
    "down": (503, "SlowDown", "Resource requested is unreadable, please reduce your request rate."),
}


class _Listener(ThreadingHTTPServer):
    """Takes as many connections at once as a client may open; five are the default."""

    daemon_threads = True
    request_queue_size = 256


class Proxy:
    """Forwards everything while `mode` is `pass`; see `REFUSALS` for the others, `hang up` closes connections, and
    `silent` does not answer.

    `faults` is the share of requests that fail while passing: refused, dropped before or after they took effect.
    """

    def __init__(self, endpoint: str, delay: Callable[[str], float] | None = None, seed: int = 1) -> None:
        self.mode = "pass"
        self.faults = 0.0
        self._rng = random.Random(seed)
        self._delay = delay
        self.refused = 0
        self._target = endpoint.split("//", 1)[1]
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

            def _serve(self) -> None:
                proxy._serve(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

        self._server = _Listener(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        if self._delay is not None:
            time.sleep(self._delay(request.command))
        mode = self.mode
        while mode == "silent" == self.mode:
            time.sleep(0.05)
        if mode in ("hang up", "silent"):
            self.refused += 1
            request.close_connection = True
        elif mode != "pass" and (mode in ("forbidden", "down") or request.command in WRITES):
            self._refuse(request, mode)
        elif self._rng.random() < self.faults:
            self._fail(request, body)
        else:
            self._answer(request, *self._forward(request, body))

    def _refuse(self, request: BaseHTTPRequestHandler, mode: str) -> None:
        self.refused += 1
        status, code, message = REFUSALS[mode]
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self._answer(request, status, {"content-type": "application/xml"}, text.encode())

    def _fail(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        kind = self._rng.choice(["busy", "dropped", "lost reply", "lost reply", "error after success"])
        if kind == "busy":
            self._refuse(request, "down")
            return
        self.refused += 1
        if kind != "dropped":
            self._forward(request, body)
        if kind == "error after success":
            self._answer(request, 500, {"content-type": "application/xml"}, b"<Error><Code>InternalError</Code></Error>")
        else:
            request.close_connection = True

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        # The host header stays as the client signed it.
        connection = http.client.HTTPConnection(self._target, timeout=60)
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() != "connection":
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding", "date")}
        connection.close()
        return answer.status, headers, content

    def _answer(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        request.send_response_only(status)
        lengths = [name for name in headers if name.lower() == "content-length"]
        if request.command != "HEAD" or not lengths:
            for name in lengths:
                del headers[name]
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
