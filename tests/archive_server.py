"""A web server of the tests' own that has one file, and the faults of real ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Served:
    """What is served, and how badly; `asked` collects the Range header of every request."""

    body: bytes
    knows_ranges: bool = True
    break_off_after: list[int] = field(default_factory=list)  # bytes that one request after the other gets at most
    answers: list[int] = field(default_factory=list)  # status of one request after the other, in place of the file
    kind: str = "application/x-xz"
    url: str = ""
    asked: list[str | None] = field(default_factory=list)


@contextmanager
def serve(served: Served) -> Iterator[Served]:
    """Serve it on this machine; its `url` then."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, served)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/archive.tar.xz"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, served: Served) -> None:
    asked = handler.headers.get("Range")
    served.asked.append(asked)
    if served.answers:
        handler.send_error(served.answers.pop(0))
        return
    start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and served.knows_ranges else 0
    total = len(served.body)
    if start >= total:
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{total}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    handler.send_header("Content-Length", str(total - start))
    handler.send_header("Content-Type", served.kind)
    handler.end_headers()
    end = start + served.break_off_after.pop(0) if served.break_off_after else total
    handler.wfile.write(served.body[start:end])
    handler.wfile.flush()
    handler.close_connection = True
