"""What wandb needs of a W&B server, on loopback: runs that can be resumed, and their histories.

W&B's own server is a large container; wandb itself talks to this one as to any other.
"""

import gzip
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "a" * 40


@dataclass
class Run:
    """What arrived of one run."""

    history: list[str] = field(default_factory=list)
    config: str = "{}"
    summary: str = "{}"
    created: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history without what wandb adds, in the order of arrival."""
        return [{k: v for k, v in json.loads(row).items() if k[0] != "_"} for row in self.history]

    @property
    def steps(self) -> list[int]:
        return [json.loads(row)["_step"] for row in self.history]


class Server(ThreadingHTTPServer):
    """Serves until it is closed; `refusing` makes it answer everything with an error, as a proxy would."""

    daemon_threads = True
    block_on_close = False
    # wandb opens many connections at once; one that finds the queue full is reset a second later.
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, Run] = {}
        self.views: list[dict[str, Any]] = []
        self.refusing = False
        self.mutex = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed leaves half a request."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, name: str, of: dict[str, Any]) -> dict[str, Any]:
        if name == "Viewer":
            return {"viewer": {"id": "u", "entity": "ent", "username": "ent", "flags": "{}", "teams": {"edges": []}}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if name == "RunResumeStatus":
            return {"model": {"id": "m", "name": of["project"], "entity": ENTITY, "bucket": self._resumed(of["name"])}}
        if name == "UpsertBucket":
            inserted = of["name"] not in self.runs
            run = self.runs.setdefault(of["name"], Run(created=of))
            run.config = of["config"] or run.config
            return {"upsertBucket": {"bucket": self._bucket(of["name"], of["project"]), "inserted": inserted}}
        if name == "CreateRunFiles":
            files = [{"name": f, "uploadUrl": f"{self.url}/upload"} for f in of["files"]]
            return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        if name == "UpsertView2":
            self.views.append(of)
            return {"upsertView": {"view": {"id": "v", "name": of["name"]}, "inserted": True}}
        return {}

    def _bucket(self, name: str, project: str) -> dict[str, Any]:
        run = self.runs[name]
        empty = dict.fromkeys(("description", "sweepName"))
        place = {"id": "p", "name": project, "entity": ENTITY}
        lines = {"historyLineCount": len(run.history)}
        return {"id": "x", "name": name, "displayName": name, "config": run.config, "project": place, **lines, **empty}

    def _resumed(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        return {
            "id": "x",
            "name": name,
            "displayName": name,
            "summaryMetrics": run.summary,
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(run.history[-1:]),
            "eventsTail": "[]",
            "config": run.config,
            "tags": [],
            "notes": None,
            "wandbConfig": '{"t": 1}',
        }

    def stream(self, name: str, files: dict[str, Any]) -> None:
        run = self.runs[name]
        history = files.get("wandb-history.jsonl")
        if history:
            at = history["offset"]
            run.history[at : at + len(history["content"])] = history["content"]
        if "wandb-summary.json" in files:
            run.summary = files["wandb-summary.json"]["content"][-1]


ENTITY = {"id": "e", "name": "ent"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        self._body()
        self._reply({})

    def do_POST(self) -> None:
        raw = self._body()
        if self.server.refusing:
            self._reply({"error": "no"}, 502)
        elif self.path.startswith("/graphql"):
            asked = json.loads(raw)
            found = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            with self.server.mutex:
                self._reply({"data": self.server.answer(found[1] if found else "", asked.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            with self.server.mutex:
                self.server.stream(self.path.split("/")[-2], json.loads(raw).get("files") or {})
            self._reply({})
        else:
            self._reply({})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            raw = b""
            while n := int(self.rfile.readline().strip() or b"0", 16):
                raw += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def _reply(self, what: dict[str, Any], code: int = 200) -> None:
        body = json.dumps(what).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
