"""A release's address changes with whatever changes an answer, and with nothing else."""

import msgspec
import pytest

from modelyard.ports.release import ModelRef, Release, Sampling

RELEASE = Release(
    name="support",
    base=ModelRef(name="base", digest="sha256:1"),
    adapter="sha256:2",
    tokenizer_digest="sha256:3",
    template_digest="sha256:4",
    created_ms=1,
)


@pytest.mark.parametrize(
    "change",
    [
        {"base": ModelRef(name="base", digest="sha256:9")},
        {"adapter": "sha256:9"},
        {"quantization": "nf4"},
        {"tokenizer_digest": "sha256:9"},
        {"template_digest": "sha256:9"},
        {"system_prompt": "Be brief."},
        {"index_version": "7"},
        {"sampling": Sampling(temperature=0.5)},
    ],
)
def test_what_changes_an_answer_changes_the_address(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(RELEASE, **change).digest != RELEASE.digest


@pytest.mark.parametrize("change", [{"name": "other"}, {"run_id": "r"}, {"created_ms": 2}])
def test_bookkeeping_does_not(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(RELEASE, **change).digest == RELEASE.digest


def test_the_address_is_frozen() -> None:
    assert RELEASE.digest == "sha256:8027b6ad4e13e2fa7880b6c580f519e8d26559f4d344f023fb64fc3c0bb32d22"
    assert RELEASE.engine_model == "support@2"


class LaterSampling(Sampling, frozen=True, kw_only=True):
    """Sampling as a later version may have it."""

    top_k: int = 0


def test_a_default_added_inside_a_part_leaves_the_address() -> None:
    now = msgspec.structs.replace(RELEASE, sampling=Sampling(temperature=0.5))
    later = msgspec.structs.replace(RELEASE, sampling=LaterSampling(temperature=0.5))
    assert later.digest == now.digest
    other = msgspec.structs.replace(RELEASE, sampling=LaterSampling(temperature=0.5, top_k=3))
    assert other.digest != now.digest
