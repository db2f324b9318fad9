"""A folder served as the Hugging Face hub serves a dataset's repository, on this machine, at one commit."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve_hub(folder: Path, repository: str, asked: list[str]) -> Iterator[str]:
    """The address of a hub that has `folder` as `repository`, its branch `main` at `COMMIT`; notes what is asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            kind = self.headers.get("Content-Type", "")
            paths = json.loads(raw)["paths"] if "json" in kind else parse_qs(raw).get("paths", [])
            asked.append(f"POST {self.path}")
            known = [_entry(folder / path, folder) for path in paths if (folder / path).exists()]
            self._json(known) if f"/paths-info/{COMMIT}" in self.path else self._missing()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(f"{self.command} {path}")
            api, files = f"/api/datasets/{repository}", f"/datasets/{repository}/resolve/{COMMIT}/"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                names = [str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if p.is_file()]
                time = "2026-01-01T00:00:00.000Z"
                facts = {"id": repository, "sha": COMMIT, "lastModified": time, "createdAt": time, "tags": []}
                facts |= {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0}
                self._json({**facts, "siblings": [{"rfilename": name} for name in names]})
            elif path == f"{api}/tree/{COMMIT}" or path.startswith(f"{api}/tree/{COMMIT}/"):
                below = folder / path.removeprefix(f"{api}/tree/{COMMIT}").strip("/")
                deep = "recursive=true" in self.path.lower()
                found = sorted(below.rglob("*") if deep else below.iterdir()) if below.is_dir() else []
                self._json([_entry(one, folder) for one in found])
            elif path.startswith(files) and (folder / path.removeprefix(files)).is_file():
                self._file((folder / path.removeprefix(files)).read_bytes())
            else:
                self._missing()

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _missing(self) -> None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

        def _file(self, content: bytes) -> None:
            start, end = 0, len(content)
            span = self.headers.get("Range", "").removeprefix("bytes=")
            if span:
                first, last = span.split("-")
                start, end = int(first), min(int(last) + 1 if last else end, end)
            names = {
                "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            if span:
                names["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            self._send(206 if span else 200, content[start:end], names)

        def _send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _entry(path: Path, root: Path) -> dict[str, Any]:
    name = str(path.relative_to(root))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
    return {
        "type": "file",
        "path": name,
        "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
        "size": path.stat().st_size,
    }


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
