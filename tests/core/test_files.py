"""Files and folders appear whole or not at all."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from modelyard.core.files import folder_atomically, write_atomically


def test_a_failed_block_leaves_the_old_folder_and_no_scratch(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with folder_atomically(target) as scratch:
        (scratch / "a").write_text("old")

    def fail() -> None:
        with folder_atomically(target) as scratch:
            (scratch / "a").write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_new_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for name in ("first", "second"):
        with folder_atomically(target) as scratch:
            (scratch / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_reader_never_sees_half_a_file_while_its_writer_is_killed(tmp_path: Path) -> None:
    target = tmp_path / "table"
    write_atomically(target, b"a" * 1_000_000)
    child = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from modelyard.core.files import write_atomically
        print("ready", flush=True)
        while True:
            for letter in b"ab":
                write_atomically(Path(sys.argv[1]), bytes([letter]) * 1_000_000)
        """
    )
    with subprocess.Popen([sys.executable, "-c", child, str(target)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(200):
            data = target.read_bytes()
            assert data in (b"a" * 1_000_000, b"b" * 1_000_000)
        writer.kill()
    data = target.read_bytes()
    assert len(set(data)) == 1
    assert len(data) == 1_000_000
