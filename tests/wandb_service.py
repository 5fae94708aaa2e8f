"""A local stand-in for the service of W&B: what its real client sends over HTTP is answered and remembered."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

# `close`: connections are dropped without a word, as a dead process's are; `hang`: nothing is ever said.
Mood = Literal["error", "hang", "close", "nonsense", "page"]
SECONDS_TO_HANG = 120

PROJECT = {"id": "project", "name": "defects", "entity": {"id": "entity", "name": "someone"}}


class Service:
    """What arrived: mutations by their names, file contents by theirs, the lines of the stream, the exit code."""

    def __init__(self) -> None:
        self.mutations: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.stream: dict[str, list[str]] = {}
        self.exit_code: int | None = None
        self.address = ""
        self.ended = threading.Event()
        self.lost = threading.Event()  # once set, nothing is answered but an error
        self.lost_after = ""  # the name of the last mutation that is answered
        self.mood: Mood = "error"  # what is done instead of answering, once it is lost
        self.asked = 0  # requests, answered or not

    def answer(self, query: str, values: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer, as far as the client needs them."""
        name = re.search(r"(?:query|mutation)\s+(\w+)", query)[1]  # type: ignore[index]
        self.mutations.setdefault(name, []).append(values)
        file = {"id": "file", "uploadUrl": f"{self.address}/upload/wandb_manifest.json", "uploadHeaders": []}
        run = {"id": "run", "name": values.get("name"), "config": "{}", "historyLineCount": 0, "project": PROJECT}
        answers: dict[str, Any] = {
            "RunResumeStatus": {"model": {**PROJECT, "bucket": None}},
            "UpsertBucket": {"upsertBucket": {"bucket": run, "inserted": True}},
            "Viewer": {"viewer": {"id": "user", "entity": "someone", "username": "someone", "flags": "{}"}},
            "ServerFeaturesQuery": {"serverInfo": {"features": []}},
            "ArtifactType": {"project": None},
            "CreateArtifact": {
                "createArtifact": {"artifact": {"id": "one", "state": "PENDING", "artifactSequence": {}}}
            },
            "CreateArtifactManifest": {"createArtifactManifest": {"artifactManifest": {"id": "one", "file": file}}},
            "CommitArtifact": {"commitArtifact": {"artifact": {"id": "one", "digest": "one"}}},
        }
        if name == "CreateRunFiles":
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": self._places(values["files"])}}
        if name == "CreateArtifactFiles":
            names = [each["name"] for each in values["input"]["artifactFiles"]]
            nodes = [
                {**place, "storagePath": place["name"], "uploadHeaders": [], "artifact": {"id": "one"}}
                for place in self._places(names)
            ]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        return dict(answers.get(name, {}))

    def _places(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"name": name, "uploadUrl": f"{self.address}/upload/{name}"} for name in names]

    def take_stream(self, sent: dict[str, Any]) -> None:
        """Lines of history, summary and system figures."""
        for name, part in (sent.get("files") or {}).items():
            self.stream.setdefault(name, []).extend(part["content"])
        if sent.get("complete"):
            self.exit_code = sent["exitcode"]

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows that were logged."""
        return [json.loads(line) for line in self.stream.get("wandb-history.jsonl", [])]

    @property
    def artifacts(self) -> dict[str, str]:
        """Names of the artifacts that were committed, with their types."""
        made = [values["input"] for values in self.mutations.get("CreateArtifact", [])]
        assert len(made) == len(self.mutations.get("CommitArtifact", []))
        return {one["artifactCollectionName"]: one["artifactTypeName"] for one in made}


class QuietServer(ThreadingHTTPServer):
    """W&B's client drops connections as it ends, which is nothing to speak of."""

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def running_service() -> Iterator[Service]:
    """A service at `address`, on this machine alone."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            service.asked += 1
            body = self._body()
            if service.lost.is_set():
                self._sulk()
            elif self.path == "/graphql":
                sent = json.loads(body)
                self._reply({"data": service.answer(sent["query"], sent.get("variables") or {})})
                if service.lost_after in service.mutations:
                    service.lost.set()
            else:
                if self.path.endswith("/file_stream"):
                    service.take_stream(json.loads(body))
                self._reply({})

        def do_PUT(self) -> None:
            body = self._body()
            if service.lost.is_set():
                self._sulk()
                return
            service.files[self.path.removeprefix("/upload/")] = body
            self._reply({})
            if service.lost_after == "upload":
                service.lost.set()

        def _sulk(self) -> None:
            if service.mood == "hang":
                service.ended.wait(SECONDS_TO_HANG)
            if service.mood in ("hang", "close"):
                self.close_connection = True
                return
            if service.mood == "page":
                self._send(b"<html>Please log in to this network</html>", 200)
                return
            self._reply({}, 503 if service.mood == "error" else 200)

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _reply(self, content: dict[str, Any], status: int = 200) -> None:
            self._send(json.dumps(content).encode(), status)

        def _send(self, body: bytes, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = QuietServer(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield service
    finally:
        service.ended.set()
        server.shutdown()
        server.server_close()
