"""`collect` of a dataset: nobody is collected without being named, and nothing is kept unmasked."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from modelyard.datasets.config import DatasetConfig

LEAST = {"service": "support", "since": "7d", "tenants": ["acme"]}


def test_collected_rows_have_one_shape_and_one_group_a_user() -> None:
    config = DatasetConfig(collect=LEAST)
    assert (config.shape, config.id, config.group, config.meta) == ("chat", "id", "unit", "meta")
    assert config.collect is not None
    assert config.collect.roles == ("champion", "challenger")
    assert DatasetConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_date_may_stand_without_quotes() -> None:
    moment = datetime(2026, 11, 20, 10, tzinfo=UTC)
    config = DatasetConfig(collect={**LEAST, "since": date(2026, 11, 1), "until": moment})
    assert config.collect is not None
    assert (config.collect.since, config.collect.until) == ("2026-11-01", "2026-11-20T10:00:00+00:00")


def test_all_tenants_are_all_only_when_written_out() -> None:
    config = DatasetConfig(collect={**LEAST, "tenants": "all"})
    assert config.collect is not None
    assert config.collect.agreed("anybody")
    named = DatasetConfig(collect=LEAST).collect
    assert named is not None
    assert [tenant for tenant in ("acme", "acm", "ac", "globex", "") if named.agreed(tenant)] == ["acme"]


@pytest.mark.parametrize(
    ("collect", "says"),
    [
        ({"tenants": []}, "name each tenant"),
        ({"tenants": ["acme", "all"]}, "tenants: all"),
        ({"tenants": "acme"}, r"as a list: \[acme\]"),
        ({"tenants": ""}, "as a list"),
        ({"since": "soon"}, "expected a time before now"),
        ({"until": "2026-11-20T10:00:00"}, "has no zone"),
        ({"roles": []}, "at least 1"),
        ({"roles": ["guest"]}, "champion"),
        ({"sample": 0}, "greater than 0"),
        ({"sample": 1.5}, "less than or equal to 1"),
        ({"max_rows": 0}, "greater than or equal to 1"),
        ({"max_per_unit": 0}, "greater than or equal to 1"),
        ({"feedback": {"at_least": 2}}, "less than or equal to 1"),
        ({"answers": "best"}, "'any', 'liked' or 'corrected'"),
        ({"tenant": ["acme"]}, "Extra inputs"),
    ],
)
def test_refuses_what_makes_no_sense(collect: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DatasetConfig(collect={**LEAST, **collect})


@pytest.mark.parametrize("missing", ["service", "since", "tenants"])
def test_service_begin_and_consent_are_asked_for(missing: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){missing}.*Field required"):
        DatasetConfig(collect={name: value for name, value in LEAST.items() if name != missing})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"path": "rows.jsonl"}, "and not both"),
        ({"group": "tenant"}, "`group` cannot be chosen"),
        ({"id": "name"}, "`id` cannot be chosen"),
        ({"shape": "text"}, "`shape` cannot be chosen"),
        ({"prompt": "{q}"}, "has no templates"),
        ({"personal_data": "keep"}, "never keep personal data"),
        ({"personal_data": {"kinds": []}}, "never keep personal data"),
    ],
)
def test_what_a_dataset_from_production_may_not_say(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DatasetConfig(collect=LEAST, **settings)
