"""Weights from the Hub, against a server on loopback that answers as the Hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from safetensors.torch import save

from weights_layout import CONFIG, state_of

COMMIT = "c" * 40
SCRIPT = """
import sys, torch, nextpatch
model = nextpatch.load(sys.argv[1], layers=sys.argv[2], img_size=(28, 28))
print(",".join(model.about.layers), model.classifier is not None, model.digest()[:12])
"""


class Hub:
    """Files of models by "owner/name/file"; which of them were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.given: list[str] = []
        self.lie = ""  # a digest to name instead of the true one
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            owner, name, _, _, file = (self.path.partition("?")[0].lstrip("/").split("/", 4) + [""] * 5)[:5]
            known = any(path.startswith(f"{owner}/{name}/") for path in hub.files)
            data = hub.files.get(f"{owner}/{name}/{file}")
            if data is None:
                self.send(404, b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})
                return
            digest = hub.lie or hashlib.sha256(data).hexdigest()
            if self.command == "GET":
                hub.given.append(file)
            self.send(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"'})

        def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    hub.files = {
        "me/aim/config.json": json.dumps(CONFIG).encode(),
        "me/aim/model.safetensors": save(state_of(CONFIG)),
    }
    threading.Thread(target=hub.http.serve_forever, args=(0.01,), daemon=True).start()
    yield hub
    hub.http.shutdown()
    hub.http.server_close()


def loaded(
    hub: Hub, home: Path, spec: str, layers: str = "", offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """What a fresh process makes of a name: the Hub's address is read when its library is imported."""
    told = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    told |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1", **told}
    return subprocess.run([sys.executable, "-c", SCRIPT, spec, layers], capture_output=True, text=True, env=env)


def test_a_model_is_fetched_once_and_then_works_offline(hub: Hub, tmp_path: Path) -> None:
    first = loaded(hub, tmp_path, "me/aim")
    assert first.stdout.split()[:2] == ["block_3,block_4", "True"], first.stderr[-2000:]
    assert sorted(hub.given) == ["config.json", "model.safetensors"]
    assert loaded(hub, tmp_path, "me/aim", offline=True).stdout == first.stdout
    assert loaded(hub, tmp_path, "me/aim").stdout == first.stdout
    assert len(hub.given) == 2


def test_the_released_names_and_the_head_of_other_layers(hub: Hub, tmp_path: Path) -> None:
    config = {**CONFIG, "probe_layers": 6}
    state = state_of(config)
    hub.files = {
        "apple/aim-600M/config.json": json.dumps(config).encode(),
        "apple/aim-600M/model.safetensors": save(state),
        "apple/AIM/aim_600m_2bimgs_attnprobe_head_best_layers.pth": b"not what was published",
    }
    last = loaded(hub, tmp_path, "apple/AIM-600m")
    assert last.stdout.startswith("block_2,block_3,block_4,block_5,block_6,block_7 True"), last.stderr[-2000:]
    assert "head_best" not in " ".join(hub.given)
    best = loaded(hub, tmp_path, "apple/aim-600M", "best")
    assert "published is ebd45c05" in best.stderr
    assert "removed" in best.stderr


def test_a_file_that_is_not_what_the_hub_says_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lie = "a" * 64
    assert "it was removed, try again" in loaded(hub, tmp_path, "me/aim").stderr


@pytest.mark.parametrize(
    ("spec", "offline", "told"),
    [
        ("me/other", False, "no such model on the Hub"),
        ("me/aim@nowhere", True, "no way to the Hub from here"),
        ("me/aim", True, "no way to the Hub from here"),
    ],
)
def test_what_cannot_be_had_says_what_to_do(hub: Hub, spec: str, offline: bool, told: str, tmp_path: Path) -> None:
    done = loaded(hub, tmp_path, spec, offline=offline)
    assert told in done.stderr.splitlines()[-1]
    assert "WeightsError" in done.stderr


def test_a_repository_of_something_else_says_so(hub: Hub, tmp_path: Path) -> None:
    del hub.files["me/aim/model.safetensors"]
    assert "has none of model.safetensors, pytorch_model.bin" in loaded(hub, tmp_path, "me/aim").stderr
