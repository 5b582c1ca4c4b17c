"""The control loop beside an engine that refuses, hangs or forgets; and beside stores, files and trackers that fail."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelyard.adapters.engines.capabilities import BUILTIN
from modelyard.adapters.engines.client import HttpEngine
from modelyard.core.clock import monotonic_s
from modelyard.core.errors import Unavailable
from modelyard.ports.release import Release
from modelyard.ports.rollout import Rollout
from modelyard.ports.routes import RouteTable, Service, decode_route_table
from modelyard.project.loading import parse_project
from modelyard.project.model import Project
from modelyard.workflows import control as control_module
from modelyard.workflows.control import Control
from modelyard.workflows.keys import create_key, revoke_key
from modelyard.workflows.rollouts import begin_rollout, cancel_rollout, roll_back
from modelyard.workflows.tools import Tools
from tests.workflows.conftest import PROJECT
from tests.workflows.yard import make_release, make_shadows, make_traffic

BILLING = PROJECT[PROJECT.index("  support:\n") :].replace("support", "billing")
TWO_SERVICES = PROJECT + BILLING


class Stub(ThreadingHTTPServer):
    """An engine that only loads adapters: those in `refused` never, those in `hanging` when `go_on` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.loaded: list[str] = []
        self.refused: set[str] = set()
        self.hanging: set[str] = set()
        self.go_on = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": name} for name in self.server.loaded]})

    def do_POST(self) -> None:
        name = json.loads(self.rfile.read(int(self.headers["content-length"])))["lora_name"]
        if name in self.server.refused:
            self._answer(400, {"error": {"message": "its rank is too high"}})
            return
        if name in self.server.hanging:
            self.server.go_on.wait(60)
        self.server.loaded.append(name)
        self._answer(200, {})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def project() -> Project:
    return parse_project(TWO_SERVICES)


@pytest.fixture
def engine() -> Iterator[Stub]:
    stub = Stub()
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield stub
    stub.go_on.set()
    stub.shutdown()
    stub.server_close()


@pytest.fixture
def control(tools: Tools, project: Project, engine: Stub, monkeypatch: pytest.MonkeyPatch) -> Control:
    monkeypatch.setattr(control_module, "_LOAD_RETRY_S", 0.0)
    return make_control(tools, project, engine)


def make_control(tools: Tools, project: Project, engine: Stub, **options: Any) -> Control:
    return Control(
        tools,
        project,
        lambda: HttpEngine(engine.url, BUILTIN),
        engine.url,
        journal=tools.state / "journal",
        table_file=tools.state / "routes.json",
        **({"patience_s": 20.0} | options),
    )


def stored_release(tools: Tools, project: Project, name: str) -> Release:
    """A release whose adapter lies in the blobs."""
    folder = tools.root / name
    folder.mkdir()
    (folder / "adapter.safetensors").write_text(name)
    return make_release(tools, project, name, adapter=tools.blobs.put_folder(folder))


def begin(tools: Tools, project: Project, release: Release, service: str = "support") -> Rollout:
    return begin_rollout(tools, project, service, release, project.rollouts["quick"].plan())


def on_disk(tools: Tools) -> RouteTable:
    return decode_route_table((tools.state / "routes.json").read_bytes())


def service(table: RouteTable, name: str = "support") -> Service:
    return next(one for one in table.services if one.name == name)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def eventually(holds: Callable[[], bool]) -> None:
    deadline_s = monotonic_s() + 20
    while not holds():
        assert monotonic_s() < deadline_s
        threading.Event().wait(0.01)


@pytest.fixture
def launched(tools: Tools, project: Project, control: Control) -> dict[str, Release]:
    """Both services with a champion that serves."""
    champions = {name: stored_release(tools, project, f"{name}-champion") for name in ("support", "billing")}
    for name, release in champions.items():
        begin(tools, project, release, name)
    table = control.tick()
    control._mirror.finish(20)
    assert [one.champion.release for one in table.services] == [champions[n].digest for n in ("billing", "support")]
    return champions


class TestNothingWaitsForAChallenger:
    @pytest.fixture(params=["refused", "hanging", "lost"])
    def stuck(
        self,
        request: pytest.FixtureRequest,
        tools: Tools,
        project: Project,
        control: Control,
        engine: Stub,
        launched: dict[str, Release],
        monkeypatch: pytest.MonkeyPatch,
    ) -> Rollout:
        """A rollout on `billing` whose challenger never gets into the engine."""
        release = stored_release(tools, project, "stuck")
        if request.param == "lost":
            release = make_release(tools, project, "whose adapter is nowhere")
        elif request.param == "refused":
            engine.refused.add(release.engine_model)
        else:
            engine.hanging.add(release.engine_model)
        rollout = begin(tools, project, release, "billing")
        with monkeypatch.context() as impatient:
            impatient.setattr(control._loader, "_patience_s", 0.1)
            control.tick()
        return rollout

    def test_it_gets_no_traffic(self, tools: Tools, control: Control, stuck: Rollout) -> None:
        billing = service(control.tick(), "billing")
        assert (billing.champion.release, billing.challenger, billing.rollout_id) == (stuck.champion, None, "")

    def test_another_service_is_rolled_back(
        self, tools: Tools, project: Project, control: Control, stuck: Rollout, launched: dict[str, Release]
    ) -> None:
        other = begin(tools, project, stored_release(tools, project, "other"))
        assert service(control.tick()).shadow
        make_shadows(tools, other, [(True, False)] * 60)
        table = control.tick()
        assert tools.records.rollouts.get(other.id).state == "rolled_back"
        assert service(table).challenger is None
        assert table == on_disk(tools)

    def test_a_key_is_revoked(self, tools: Tools, control: Control, stuck: Rollout) -> None:
        key, _ = create_key(tools.records, "acme")
        assert control.tick().keys == (key,)
        revoke_key(tools.records, key.id)
        assert control.tick().keys == on_disk(tools).keys == ()

    def test_its_own_rollout_is_cancelled(self, tools: Tools, control: Control, stuck: Rollout) -> None:
        cancel_rollout(tools, stuck.id, "it does not load")
        assert service(control.tick(), "billing").champion.release == stuck.champion


def test_a_challenger_comes_in_when_it_can_be_loaded(
    tools: Tools,
    project: Project,
    control: Control,
    engine: Stub,
    launched: dict[str, Release],
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = stored_release(tools, project, "late")
    engine.refused.add(release.engine_model)
    rollout = begin(tools, project, release)
    for _ in range(3):
        assert service(control.tick()).challenger is None
    assert len([one for one in messages(caplog) if release.ref in one]) == 1
    engine.refused.clear()
    eventually(lambda: service(control.tick()).rollout_id == rollout.id)
    assert release.engine_model in engine.loaded


class TestAChampionThatCannotBeLoaded:
    def test_leaves_the_service_as_it_was(
        self, tools: Tools, project: Project, control: Control, engine: Stub, launched: dict[str, Release]
    ) -> None:
        better = stored_release(tools, project, "better")
        rollout = begin(tools, project, better)
        control.tick()
        make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
        assert service(control.tick()).weight_bp == 5000
        engine.loaded.clear()
        engine.refused |= {better.engine_model}
        control.forget_engine()
        make_traffic(tools, rollout, "champion", [0.0, 1.0] * 40, propensity=0.5)
        make_traffic(tools, rollout, "challenger", [1.0] * 80, propensity=0.5)
        table = control.tick()
        assert tools.records.rollouts.get(rollout.id).state == "promoted"
        assert (service(table).champion.release, service(table).challenger) == (launched["support"].digest, None)
        engine.refused.clear()
        eventually(lambda: service(control.tick()).champion.release == better.digest)

    def test_leaves_out_one_that_never_served(self, tools: Tools, project: Project, control: Control) -> None:
        begin(tools, project, make_release(tools, project, "lost"), "billing")
        begin(tools, project, stored_release(tools, project, "good"))
        assert [one.name for one in control.tick().services] == ["support"]

    def test_does_not_keep_a_trial_that_is_over(
        self, tools: Tools, project: Project, control: Control, engine: Stub, launched: dict[str, Release]
    ) -> None:
        rollout = begin(tools, project, stored_release(tools, project, "next"))
        assert service(control.tick()).shadow
        engine.loaded.clear()
        engine.refused.add(launched["support"].engine_model)
        control.forget_engine()
        cancel_rollout(tools, rollout.id, "enough")
        assert service(control.tick()).challenger is None


def test_after_a_restart_of_the_engine_the_table_stays_and_everything_is_loaded_again(
    tools: Tools, project: Project, control: Control, engine: Stub, launched: dict[str, Release]
) -> None:
    begin(tools, project, stored_release(tools, project, "next"))
    table = control.tick()
    loaded = set(engine.loaded)
    engine.loaded.clear()
    control.forget_engine()
    assert control.tick() == table
    assert set(engine.loaded) == loaded


def test_the_way_back_is_published(
    tools: Tools, project: Project, control: Control, launched: dict[str, Release]
) -> None:
    rollout = begin(tools, project, stored_release(tools, project, "better"))
    control.tick()
    make_shadows(tools, rollout, [(number % 2 == 0, True) for number in range(60)])
    control.tick()
    make_traffic(tools, rollout, "champion", [0.0, 1.0] * 40, propensity=0.5)
    make_traffic(tools, rollout, "challenger", [1.0] * 80, propensity=0.5)
    assert service(control.tick()).champion.release == rollout.challenger
    roll_back(tools, "support", "wrong on invoices")
    assert service(control.tick()).champion.release == launched["support"].digest


class TestTheLoopGoesOn:
    def test_one_broken_rollout_blocks_no_other(
        self,
        tools: Tools,
        project: Project,
        control: Control,
        launched: dict[str, Release],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        broken = begin(tools, project, stored_release(tools, project, "broken"), "billing")
        sound = begin(tools, project, stored_release(tools, project, "sound"))
        scored = tools.records.interactions.scored

        def explode(service: str, **question: Any) -> Any:
            if question["rollout_id"] == broken.id:
                raise ZeroDivisionError("of our own")
            return scored(service, **question)

        monkeypatch.setattr(tools.records.interactions, "scored", explode)
        make_shadows(tools, sound, [(True, False)] * 60)
        for _ in range(3):
            control.tick()
        assert tools.records.rollouts.get(sound.id).state == "rolled_back"
        (told,) = [record for record in caplog.records if broken.id in record.getMessage()]
        assert told.exc_info is not None

    def test_no_exception_ends_it(
        self, tools: Tools, control: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        stop, ticks = threading.Event(), []

        def tick() -> None:
            ticks.append(1)
            if len(ticks) == 4:
                stop.set()
            raise KeyError("of our own") if len(ticks) < 3 else Unavailable("the records are away")

        monkeypatch.setattr(control, "tick", tick)
        control.run(stop, interval_s=0.001)
        assert len(ticks) == 5
        assert len(messages(caplog)) == 2

    def test_a_journal_that_cannot_be_read_stops_no_rollback(
        self,
        tools: Tools,
        project: Project,
        control: Control,
        launched: dict[str, Release],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        rollout = begin(tools, project, stored_release(tools, project, "next"))
        control.tick()

        def away() -> int:
            raise Unavailable("the journal is away")

        monkeypatch.setattr(control._ingester, "ingest_once", away)
        cancel_rollout(tools, rollout.id, "enough")
        assert service(control.tick()).challenger is None


class TestTheProjectFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "modelyard.yaml"
        file.write_text(TWO_SERVICES)
        return file

    @pytest.fixture
    def control(self, tools: Tools, project: Project, engine: Stub, file: Path) -> Control:
        return make_control(tools, project, engine, project_file=file)

    def test_is_read_again_where_it_changed(self, control: Control, launched: dict[str, Release], file: Path) -> None:
        file.write_text(TWO_SERVICES.replace('output: "0.20"', 'output: "0.40"'))
        assert service(control.tick()).champion.price.output_nanousd == 400_000_000
        file.write_text(PROJECT)
        assert [one.name for one in control.tick().services] == ["support"]

    @pytest.mark.parametrize("text", ["services: [", "servces: {}", None])
    def test_the_last_good_one_holds(
        self,
        control: Control,
        launched: dict[str, Release],
        file: Path,
        text: str | None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        table = control.tick()
        file.unlink() if text is None else file.write_text(text)
        for _ in range(3):
            assert control.tick() == table
        assert len([one for one in messages(caplog) if "project file" in one]) == 1
        file.write_text(PROJECT)
        assert [one.name for one in control.tick().services] == ["support"]


class TestTheTracker:
    def test_holds_up_nothing(
        self,
        tools: Tools,
        project: Project,
        control: Control,
        launched: dict[str, Release],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        go_on, shown = threading.Event(), []

        def mirror(tools: Tools, project: Project, service: str, digest: str, alias: str) -> None:
            go_on.wait(60)
            shown.append((service, digest, alias))

        monkeypatch.setattr(control_module, "mirror_release", mirror)
        rollout = begin(tools, project, stored_release(tools, project, "next"))
        assert service(control.tick()).shadow
        cancel_rollout(tools, rollout.id, "enough")
        assert service(control.tick()).challenger is None
        assert shown == []
        go_on.set()
        control._mirror.finish(20)
        assert shown != []

    def test_shows_after_a_restart_what_the_records_say(
        self,
        tools: Tools,
        project: Project,
        engine: Stub,
        launched: dict[str, Release],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        shown: list[tuple[str, ...]] = []
        monkeypatch.setattr(control_module, "mirror_release", lambda tools, project, *what: shown.append(what))
        rollout = begin(tools, project, stored_release(tools, project, "next"))
        again = make_control(tools, project, engine)
        for _ in range(3):
            again.tick()
            again._mirror.finish(20)
        assert sorted(shown) == [
            ("billing", launched["billing"].digest, "champion"),
            ("support", launched["support"].digest, "champion"),
            ("support", rollout.challenger, "challenger"),
        ]
