"""The process as its operator runs it: TLS, browsers, several workers, ends of all kinds."""

import http.server
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from modelyard.ports.limits import Limits
from modelyard.ports.routes import Service, decode_route_table
from tests.gateway.harness import AUTH, CHAT, KEY, Yard, eventually, free_port, key_of, variant
from tests.gateway.upstream import Engine

CHROMIUM = shutil.which("chromium")
PAGE = """\
<script>
const send = {method: "POST", headers: {authorization: "Bearer %s", "content-type": "application/json"},
              body: JSON.stringify({model: "support", messages: [{role: "user", content: "hello"}]})};
fetch("%s/v1/chat/completions", send)
  .then(async answer => [answer.status, answer.headers.get("x-modelyard-release"), (await answer.json()).object])
  .then(seen => seen.join(" "), error => "failed " + error)
  .then(told => fetch("/told", {method: "POST", body: told}));
</script>"""


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, written as a renewal would: whole."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "chain.pem", folder / "key.pem"
    files = ["-keyout", f"{key}.new", "-out", f"{certificate}.new"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)
    os.replace(f"{key}.new", key)
    os.replace(f"{certificate}.new", certificate)
    return certificate, key


@contextmanager
def spawned(yard: Yard, *flags: str, scheme: str = "http", port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    port = port or free_port()
    command = [sys.executable, "-m", "modelyard.gateway.server", "--port", str(port)]
    command += ["--table", str(yard.table), "--journal", str(yard.journal), *flags]
    log = (yard.table.parent / "log").open("wb")
    yard.url = f"{scheme}://127.0.0.1:{port}"
    with log, subprocess.Popen(command, stderr=log) as process:
        try:
            eventually(lambda: is_ready(yard.url))
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            finally:
                process.kill()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", verify=False).status_code == 200
    except httpx.TransportError:
        return False


def shown(url: str) -> str:
    """The name on the certificate that a new connection is shown."""
    host, port = httpx.URL(url).host, httpx.URL(url).port
    found = ssl.get_server_certificate((host, port or 443))
    done = subprocess.run(["openssl", "x509", "-noout", "-subject"], input=found, text=True, capture_output=True)
    return done.stdout.strip().rpartition("=")[2].strip()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def files(tmp_path: Path, engine_url: str) -> Yard:
    yard = Yard(tmp_path)
    yard.publish(Service(name="support", champion=variant("champ", engine_url)), wait=False)
    return yard


def test_tls_serves_takes_a_new_certificate_and_drains(tmp_path: Path, files: Yard, engine: Engine) -> None:
    certificate, key = make_certificate(tmp_path / "tls", "first")
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with spawned(files, *flags, scheme="https") as process:
        trust = ssl.create_default_context(cafile=certificate)
        with httpx.Client(base_url=files.url, headers=AUTH, verify=trust) as client:
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
            assert shown(files.url) == "first"
            key.write_text("-----BEGIN nonsense")
            eventually(lambda: b"was not taken" in (tmp_path / "log").read_bytes())
            assert shown(files.url) == "first"
            make_certificate(tmp_path / "tls", "second")
            eventually(lambda: shown(files.url) == "second")
            # The connection from before goes on as it was.
            engine.piece_delay_s = 0.2
            with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.terminate()
                assert "data: [DONE]" in list(lines)
        assert process.wait(timeout=20) == 0
    assert [entry.status for entry in files.interactions()] == [200, 200]


def test_http_on_the_tls_port_and_a_key_that_does_not_fit(tmp_path: Path, files: Yard) -> None:
    certificate, key = make_certificate(tmp_path / "tls", "first")
    with spawned(files, "--tls-certificate", str(certificate), "--tls-key", str(key), scheme="https"):
        with pytest.raises(httpx.TransportError):
            httpx.get(files.url.replace("https", "http") + "/health")
        assert is_ready(files.url)
    other, _ = make_certificate(tmp_path / "other", "other")
    command = [sys.executable, "-m", "modelyard.gateway.server", "--table", str(files.table), "--journal", "j"]
    command += ["--tls-certificate", str(other), "--tls-key", str(key)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "cannot be used for TLS" in done.stderr
    assert "Traceback" not in done.stderr


def test_workers_come_back_and_lose_nothing(files: Yard) -> None:
    with spawned(files, "--workers", "2") as process:
        workers = eventually(lambda: len(children(process.pid)) == 2 and children(process.pid))
        ask(files, 20)
        # What a worker counted since it last wrote it down, a second ago at most, dies with it.
        eventually(lambda: totals(files) == {20.0})
        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: len(set(children(process.pid)) - set(workers)) == 1)
        ask(files, 20)
        eventually(lambda: totals(files) == {40.0})
        assert {files.metric("journal_entries_total") for _ in range(10)} == {40.0}
        process.terminate()
        assert process.wait(timeout=20) == 0
    entries = files.interactions(40)
    assert len({entry.id for entry in entries}) == 40
    assert {entry.status for entry in entries} == {200}


def ask(yard: Yard, number: int) -> None:
    """Requests on connections of their own, which the system divides among the workers."""
    for _ in range(number):
        assert yard.post().status_code == 200


def totals(yard: Yard) -> set[float]:
    """What several scrapes, each of either worker, say of the requests."""
    return {yard.metric('requests_total{service="support"') for _ in range(10)}


def test_a_second_signal_breaks_off(files: Yard, engine: Engine) -> None:
    engine.fault["champ"] = "stall"
    with (
        spawned(files, "--workers", "2") as process,
        httpx.stream("POST", f"{files.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=AUTH) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.terminate()
        process.wait(timeout=10)
    assert [(entry.status, entry.error) for entry in files.interactions()] == [(499, "gateway_stopped")]


def test_a_preflight_and_what_a_page_may_read(files: Yard) -> None:
    key = msgspec.structs.replace(key_of(), limits=Limits(requests_per_minute=600, tokens_per_minute=600_000))
    services = decode_route_table(files.table.read_bytes()).services
    files.publish(*services, keys=(key,), wait=False)
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    with spawned(files, "--cors", "https://app.example.com"):
        place = f"{files.url}/v1/chat/completions"
        told = httpx.options(place, headers={"origin": "https://app.example.com", **asked})
        assert told.status_code in (200, 204)
        assert told.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "authorization" in told.headers["access-control-allow-headers"]
        other = httpx.options(place, headers={"origin": "https://evil.example.com", **asked})
        assert "access-control-allow-origin" not in other.headers
        answer = httpx.post(place, json=CHAT, headers={**AUTH, "origin": "https://app.example.com"})
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
        ours = {name for name in answer.headers if name.startswith("x-")}
        assert "x-ratelimit-remaining-tokens" in ours
        assert ours <= exposed
        refused = httpx.post(place, json=CHAT, headers={"origin": "https://app.example.com"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://app.example.com"


class Page(http.server.BaseHTTPRequestHandler):
    """Gives out the page, and hears what it saw."""

    script = ""
    told: list[str] = []

    def do_GET(self) -> None:
        self.answer(PAGE % (KEY, self.script))

    def do_POST(self) -> None:
        self.told.append(self.rfile.read(int(self.headers["content-length"])).decode())
        self.answer("")

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def pages(url: str) -> Iterator[tuple[str, list[str]]]:
    """A web server of another origin whose page calls `url`: its origin, and what the page tells."""
    handler = type("PageOf", (Page,), {"script": url, "told": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.told
    finally:
        server.shutdown()
        server.server_close()


def visit(origin: str, profile: Path, told: list[str]) -> None:
    """Open a page in a browser until it has told what it saw."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={profile}", origin]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            eventually(lambda: told)
        finally:
            browser.terminate()
            browser.wait(timeout=20)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_page_in_a_browser(tmp_path: Path, files: Yard) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with pages(url) as (good, good_told), pages(url) as (bad, bad_told), spawned(files, "--cors", good, port=port):
        visit(good, tmp_path / "good", good_told)
        visit(bad, tmp_path / "bad", bad_told)
    assert good_told == ["200 champ@123 chat.completion"]
    assert bad_told == ["failed TypeError: Failed to fetch"]
