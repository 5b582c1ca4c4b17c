"""The container recipe. No container is built here: its files are checked, its commands run in a fresh environment."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from modelyard import __version__
from modelyard.gateway.server import read_settings
from modelyard.gateway.settings import GatewaySettings
from modelyard.ports.routes import Service
from tests.gateway.harness import AUTH, KEY, Yard, answers, eventually, free_port, serving, variant
from tests.gateway.upstream import Engine

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "gateway"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
MANIFESTS: list[dict[str, Any]] = list(YAML(typ="safe").load_all((FOLDER / "kubernetes.yaml").read_text()))
COMPOSE: dict[str, Any] = YAML(typ="safe").load((FOLDER / "compose.yaml").read_text())
PINS = dict(re.findall(r"^([a-z]+)==(\S+)$", (FOLDER / "requirements.txt").read_text(), re.MULTILINE))


def stages() -> list[list[tuple[str, str]]]:
    """The Dockerfile's instructions by stage."""
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    found: list[list[tuple[str, str]]] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def words_of(instruction: str) -> list[str]:
    """The JSON list of an instruction of the last stage."""
    (text,) = [rest for word, rest in stages()[-1] if word == instruction]
    words = json.loads(text[text.index("[") :])
    assert all(isinstance(word, str) for word in words)
    return list(words)


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [one for one in MANIFESTS if one["kind"] == kind]
    return found


def settings_of(words: list[str], monkeypatch: pytest.MonkeyPatch) -> GatewaySettings:
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://x")
    return read_settings(words)


def test_the_image_is_small_pinned_and_nobodys_root() -> None:
    build, final = stages()
    assert all(re.match(r"python:3\.\d+-slim( AS \w+)?$", stage[0][1]) for stage in (build, final))
    assert [rest for word, rest in final if word == "USER"] == ["65532:65532"]
    assert {"ADD"}.isdisjoint(word for word, _ in build + final)
    assert not any(word == "RUN" and "pip" in rest for word, rest in final)
    for word, rest in build:
        if word == "COPY":
            *sources, _ = shlex.split(rest)
            assert all((ROOT / source).exists() for source in sources), rest
    assert "python" in words_of("HEALTHCHECK")[0]


def test_the_image_is_given_what_it_copies() -> None:
    kept = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {word for w, rest in stages()[0] if w == "COPY" for word in shlex.split(rest)[:-1]}
    assert kept == copied


def test_the_pins_are_those_that_the_repository_is_tested_with() -> None:
    lock = dict(re.findall(r"^([a-z]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {"httptools", "msgspec", "uvloop"} <= PINS.keys() & lock.keys()
    assert {name: lock[name] for name in PINS if name in lock} == {name: PINS[name] for name in PINS if name in lock}


@pytest.mark.parametrize("document", MANIFESTS, ids=lambda document: document["kind"])
def test_kubernetes_takes_the_manifests(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_mistake_in_a_manifest_would_be_seen() -> None:
    wrong = {**manifest("Deployment"), "spec": {**manifest("Deployment")["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_the_deployment_says_what_the_gateway_does(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = manifest("Deployment")["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    settings = settings_of([*words_of("ENTRYPOINT")[3:], *container["args"]], monkeypatch)
    assert container["ports"] == [{"name": "http", "containerPort": settings.port}]
    assert pod["terminationGracePeriodSeconds"] >= 5 + settings.drain_s + 5
    assert (spec["replicas"], manifest("HorizontalPodAutoscaler")["spec"]["minReplicas"]) == (2, 2)
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["image"].endswith(f":{__version__}")
    # Everything that the process writes lies on the volume: the root is read-only.
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert str(settings.journal.parent) in mounts
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    labels = spec["template"]["metadata"]["labels"].items()
    selectors = (manifest("Service")["spec"]["selector"], spec["selector"]["matchLabels"])
    assert all(selector.items() <= labels for selector in selectors)


def test_compose_starts_it_with_flags_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = COMPOSE["services"]["gateway"]
    settings = settings_of([*words_of("ENTRYPOINT")[3:], *gateway["command"]], monkeypatch)
    assert settings.redis_url
    assert gateway["read_only"] is True
    assert (FOLDER / gateway["build"]["context"] / gateway["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    assert int(gateway["stop_grace_period"].removesuffix("s")) > settings.drain_s


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT))
    (found,) = folder.glob("*.whl")
    return found


def run(*command: str, **env: str) -> str:
    done = subprocess.run(command, env={**clean(), **env}, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def environment(folder: Path, *packages: str) -> Path:
    run(sys.executable, "-m", "venv", str(folder))
    run(str(folder / "bin" / "pip"), "install", "-q", *packages)
    return folder / "bin"


@contextmanager
def process(yard: Yard, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, env=clean(), cwd="/", stderr=subprocess.PIPE) as started:
        try:
            eventually(lambda: answers(f"{yard.url}/ready"))
            yield started
        finally:
            started.kill()


@pytest.mark.long
def test_the_images_commands_serve_with_its_packages_alone(tmp_path: Path, wheel: Path) -> None:
    bin = environment(tmp_path / "image", "-r", str(FOLDER / "requirements.txt"))
    run(str(bin / "pip"), "install", "-q", "--no-deps", str(wheel))
    yard, port = Yard(tmp_path), free_port()
    yard.url = f"http://127.0.0.1:{port}"
    text = json.dumps([*words_of("ENTRYPOINT"), *words_of("CMD")]).replace("8700", str(port))
    words = json.loads(text.replace("/var/lib/modelyard", str(tmp_path)))
    health = [word.replace("8700", str(port)) for word in words_of("HEALTHCHECK")]
    with serving(Engine()) as engine_url:
        yard.publish(Service(name="support", champion=variant("champ", engine_url)), wait=False)
        with process(yard, [str(bin / words[0]), *words[1:]]) as gateway:
            assert yard.post().status_code == 200
            run(str(bin / health[0]), *health[1:])
            gateway.terminate()
            assert gateway.wait(timeout=40) == 0
    assert [entry.status for entry in yard.interactions()] == [200]
    with pytest.raises(AssertionError):
        run(str(bin / health[0]), *health[1:])


@pytest.mark.long
def test_without_extras_the_command_line_serves_and_measures(tmp_path: Path, wheel: Path) -> None:
    bin = environment(tmp_path / "plain", "-c", str(ROOT / "requirements.lock"), str(wheel))
    listed = run(str(bin / "pip"), "list", "--format", "freeze")
    assert not re.search(r"^(torch|sqlalchemy|uvicorn|numpy)==", listed, re.MULTILINE | re.IGNORECASE)
    yard, port = Yard(tmp_path), free_port()
    yard.url = f"http://127.0.0.1:{port}"
    files = ["--table", str(yard.table), "--journal", str(yard.journal), "--port", str(port)]
    command = str(bin / "modelyard")
    with serving(Engine()) as engine_url:
        yard.publish(Service(name="support", champion=variant("champ", engine_url)), wait=False)
        with process(yard, [command, "gateway", *files]):
            words = ["gateway", "bench", yard.url, "--key", "YARD_KEY", "--rate", "20", "--seconds", "0.5", "--json"]
            assert json.loads(run(command, *words, YARD_KEY=KEY))["answered"] == 10
            assert json.loads(run(command, "gateway", "status", yard.url, "--json"))["ready"] is True
    assert AUTH["authorization"].encode() not in b"".join(path.read_bytes() for path in yard.journal.iterdir())
