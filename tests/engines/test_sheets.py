"""The sheets themselves: whole, consistent with what checks them, and the source of capabilities."""

import pytest

from modelyard.adapters.engines import capabilities
from modelyard.adapters.engines.conformance.checks import CHECKS, DEPENDS
from modelyard.ports.sheets import ALL, SHEETS, Sheet, sheet_of


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS)
def test_a_sheet_is_whole(sheet: Sheet) -> None:
    assert sheet.endpoints
    assert sheet.endpoints <= ALL
    assert sheet.source
    assert sheet.read_at
    assert sheet.fails <= set(CHECKS)
    assert bool(sheet.tokenize) == bool(sheet.tokenize_takes)
    assert all(path.startswith("/") for path in (sheet.prefix, sheet.adapters, sheet.tokenize, sheet.health) if path)
    assert all(defect.what and defect.source for defect in sheet.defects)


def test_capabilities_come_from_the_sheets() -> None:
    assert capabilities.vllm(32).lora_ranks == (1, 8, 16, 32)
    assert capabilities.VLLM.max_lora_rank == 64
    assert capabilities.BUILTIN.adapters
    assert capabilities.BUILTIN.tokenize
    assert not SHEETS["llamacpp"].capabilities().adapters
    assert not SHEETS["sglang"].capabilities().tokenize, "it takes no turns, so parity could not be checked"


def test_an_unknown_kind_is_taken_for_openai() -> None:
    assert sheet_of("my-own") is SHEETS["openai"]


def test_checks_that_depend_on_the_model_are_checks() -> None:
    assert set(CHECKS) >= DEPENDS
