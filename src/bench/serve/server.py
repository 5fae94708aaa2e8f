"""HTTP on the loopback interface: only GET, only for this machine's own browser, only what the site names."""

import os
import shutil
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from bench.errors import UsageError
from bench.serve.site import Page, Site

_LOOPBACK = "127.0.0.1"
# A page may show pictures of this server, run its own script, and reach nothing else.
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Server(ThreadingHTTPServer):
    """Serves one site."""

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        super().__init__((_LOOPBACK, port), _Handler)
        self.site = site
        # Another name in the Host header comes from a foreign page whose name resolves to this machine (DNS rebinding).
        names = (_LOOPBACK, "localhost")
        self.hosts = {f"{name}:{self.server_port}" for name in names} | (
            set(names) if self.server_port == 80 else set()
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that closes the connection during an answer."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def make_server(site: Site, port: int) -> Server:
    """Bind the port (0: any) and build the site once, so that the first request need not wait for it."""
    server = Server(site, port)
    try:
        site.refresh()
    except BaseException:
        server.server_close()
        raise
    return server


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "bench"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing: the terminal belongs to the user."""

    def _answer(self) -> None:
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            self._fail(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to 127.0.0.1 and localhost alone")
            return
        path = unquote(urlsplit(self.path).path)
        try:
            found = self.server.site.find(path)
        except (UsageError, OSError) as error:  # for example, the folder of records is gone
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        if found is None:
            self._fail(HTTPStatus.NOT_FOUND, "there is no such page")
        elif isinstance(found, Page):
            self._begin(HTTPStatus.OK, found.kind, len(found.content))
            self._write(found.content)
        else:
            self._send_file(str(found.path), found.kind)

    def _send_file(self, path: str, kind: str) -> None:
        try:
            # The site named exactly this file; a path that has become a link since then is not followed.
            if os.path.realpath(path) != path:
                raise OSError
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            self._fail(HTTPStatus.NOT_FOUND, "there is no such file")
            return
        with os.fdopen(descriptor, "rb") as file:
            self._begin(HTTPStatus.OK, kind, os.fstat(descriptor).st_size)
            if self.command != "HEAD":
                shutil.copyfileobj(file, self.wfile)

    def _fail(self, status: HTTPStatus, message: str) -> None:
        content = f"{message}\n".encode()
        self._begin(status, "text/plain; charset=utf-8", len(content))
        self._write(content)

    def _begin(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def _write(self, content: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(content)
