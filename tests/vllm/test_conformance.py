"""The conformance suite on a real vLLM."""

import pytest

from modelyard.adapters.engines.conformance import check_engine

pytestmark = pytest.mark.vllm


def test_it_does_as_its_sheet_says(engine_url: str) -> None:
    findings = {finding.name: finding for finding in check_engine(engine_url, "vllm")}
    assert [finding for finding in findings.values() if finding.differs] == []
    assert findings["cancel"].works, findings["cancel"]
    assert findings["logprobs"].works, findings["logprobs"]
