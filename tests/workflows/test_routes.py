"""The route table follows from the records, and is published where it changed."""

from pathlib import Path

from modelyard.ports.routes import RouteTable, decode_route_table, encode_route_table
from modelyard.project.model import Project
from modelyard.workflows.keys import create_key, revoke_key
from modelyard.workflows.rollouts import begin_rollout
from modelyard.workflows.routes import publish
from modelyard.workflows.tools import Tools
from tests.workflows.yard import make_release, services_now


def publish_now(tools: Tools, project: Project, file: Path) -> int:
    return publish(tools.records, services_now(tools, project), file).version


def test_a_table_is_written_where_something_changed_and_only_there(
    tools: Tools, project: Project, tmp_path: Path
) -> None:
    file = tmp_path / "routes.json"
    assert publish_now(tools, project, file) == 1
    written = file.stat().st_mtime_ns
    assert publish_now(tools, project, file) == 1
    assert file.stat().st_mtime_ns == written

    release = make_release(tools, project, "first")
    begin_rollout(tools, project, "support", release, project.rollouts["quick"].plan())
    assert publish_now(tools, project, file) == 2
    table = decode_route_table(file.read_bytes())
    (service,) = table.services
    assert service.champion.ref == release.ref
    assert service.champion.model == release.engine_model
    assert service.champion.price.output_nanousd == 200_000_000
    assert service.body_policy == "hash"


def test_a_file_lost_after_the_table_was_stored_is_written_again(
    tools: Tools, project: Project, tmp_path: Path
) -> None:
    file = tmp_path / "routes.json"
    publish_now(tools, project, file)
    file.unlink()
    assert publish_now(tools, project, file) == 1
    assert decode_route_table(file.read_bytes()).version == 1


def test_a_key_is_kept_as_a_hash_and_can_be_taken_away(tools: Tools, project: Project, tmp_path: Path) -> None:
    file = tmp_path / "routes.json"
    key, text = create_key(tools.records, "acme", days=3)
    publish_now(tools, project, file)
    assert text not in file.read_text()
    assert text.encode() not in (tools.state / "records.db").read_bytes()
    assert [one.id for one in decode_route_table(file.read_bytes()).keys] == [key.id]
    revoke_key(tools.records, key.id)
    assert publish_now(tools, project, file) == 2
    assert decode_route_table(file.read_bytes()).keys == ()


def test_records_that_were_lost_do_not_leave_the_gateway_behind(tools: Tools, project: Project, tmp_path: Path) -> None:
    file = tmp_path / "routes.json"
    newer = RouteTable(version=21, created_ms=1)
    file.write_bytes(encode_route_table(newer))
    assert publish_now(tools, project, file) == 22
    assert publish_now(tools, project, file) == 22
    assert decode_route_table(file.read_bytes()).version == 22
