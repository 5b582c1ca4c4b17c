import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import Conflict, NotFound
from modelyard.ports.release import StageMove
from tests.adapters.records.values import NOW_MS, a_move, a_release


def test_a_release_begins_as_a_draft(records: SqlRecords) -> None:
    release = a_release()
    records.releases.add(release)
    assert records.releases.get(release.digest) == release
    assert records.releases.stage(release.digest) == "draft"
    assert records.releases.moves(release.digest) == []


def test_adding_again_keeps_the_first_and_its_stage(records: SqlRecords) -> None:
    release = a_release()
    records.releases.add(release)
    records.releases.move(a_move(release))
    records.releases.add(msgspec.structs.replace(release, created_ms=NOW_MS + 1))
    assert records.releases.newest() == [release]
    assert records.releases.stage(release.digest) == "staging"


def test_the_same_weights_under_another_name_are_a_conflict(records: SqlRecords) -> None:
    records.releases.add(a_release())
    with pytest.raises(Conflict, match="differ in name"):
        records.releases.add(a_release("sales"))


def test_the_same_weights_from_another_run_are_the_same_release(records: SqlRecords) -> None:
    records.releases.add(a_release(run_id="run-1"))
    records.releases.add(a_release(run_id="run-2"))
    assert [release.run_id for release in records.releases.newest()] == ["run-1"]


def test_find_and_newest(records: SqlRecords) -> None:
    old, new = a_release(adapter="1"), a_release(adapter="2")
    records.releases.add(old)
    records.releases.add(new)
    assert records.releases.find("support") == new, "of one millisecond, the one that came last"
    assert records.releases.find(old.ref) == old
    assert records.releases.newest("support") == [new, old]
    with pytest.raises(NotFound, match="did you mean"):
        records.releases.find("suport")


def test_moves_change_the_stage_and_are_kept_in_order(records: SqlRecords) -> None:
    release = a_release()
    records.releases.add(release)
    road = [
        a_move(release, "draft", "staging"),
        a_move(release, "staging", "production", at_ms=NOW_MS - 1, verdict_id="v"),
        a_move(release, "production", "archived"),
        a_move(release, "archived", "production"),
    ]
    for move in road:
        records.releases.move(move)
        assert records.releases.stage(release.digest) == move.to_stage
    assert records.releases.moves(release.digest) == road


def test_a_move_from_a_stage_it_is_not_in_is_a_conflict(records: SqlRecords) -> None:
    release = a_release()
    records.releases.add(release)
    with pytest.raises(Conflict, match="is in stage 'draft'"):
        records.releases.move(a_move(release, "staging", "production"))
    assert records.releases.stage(release.digest) == "draft"
    assert records.releases.moves(release.digest) == []


def test_the_same_move_again_changes_nothing(records: SqlRecords) -> None:
    release = a_release()
    records.releases.add(release)
    move = a_move(release)
    records.releases.move(move)
    records.releases.move(move)
    assert records.releases.moves(release.digest) == [move]
    with pytest.raises(Conflict):
        records.releases.move(a_move(release, "staging", "archived", id=move.id))


def test_an_unknown_release_has_no_stage_and_cannot_move(records: SqlRecords) -> None:
    ghost = a_release("ghost")
    with pytest.raises(NotFound):
        records.releases.stage(ghost.digest)
    with pytest.raises(NotFound):
        records.releases.move(a_move(ghost))


def test_stages_of_two_releases_are_apart(records: SqlRecords) -> None:
    one, two = a_release(adapter="1"), a_release(adapter="2")
    for release in (one, two):
        records.releases.add(release)
    records.releases.move(a_move(one))
    assert records.releases.stage(two.digest) == "draft"
    assert [type(move) for move in records.releases.moves(one.digest)] == [StageMove]
