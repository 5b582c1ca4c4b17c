"""Small valid values of every noun, with whatever fields a test cares about."""

from typing import Any

from modelyard.core.digests import digest_text
from modelyard.core.ids import new_id
from modelyard.ports.dataset import Dataset, Source
from modelyard.ports.export import Export
from modelyard.ports.interaction import Feedback, Interaction
from modelyard.ports.release import ModelRef, Release, StageMove
from modelyard.ports.report import Metric, Report
from modelyard.ports.rollout import Plan, Rollout, RolloutEvent, Step
from modelyard.ports.routes import Key, RouteTable
from modelyard.ports.run import Lineage, Run
from modelyard.ports.verdict import Approval, Check, Verdict

NOW_MS = 1_750_000_000_000


def a_dataset(name: str = "support", content: str = "rows", **fields: Any) -> Dataset:
    values: dict[str, Any] = {
        "digest": digest_text(content),
        "created_ms": NOW_MS,
        "blob": digest_text("blob"),
        "rows": {"train": 90, "test": 10},
        "sources": (Source(path="raw.jsonl", digest=digest_text("raw"), num_bytes=1234),),
        "config": {"seed": 1, "steps": ["dedup", {"mask": True}]},
        "steps": ({"step": "dedup", "rows_in": 120, "rows_out": 100, "dropped": 20},),
    }
    return Dataset(name=name, **values | fields)


def a_run(name: str = "support-lora", **fields: Any) -> Run:
    lineage = Lineage(
        commit="c0ffee",
        dirty_digest="",
        dataset_digest=digest_text("rows"),
        base_name="base",
        base_digest=digest_text("base"),
        template_digest=digest_text("template"),
        tokenizer_digest=digest_text("tokenizer"),
        environment_digest=digest_text("lock"),
        environment={"torch": "2.13.0"},
        hardware={"cores": 2},
        seed=7,
    )
    values: dict[str, Any] = {
        "id": new_id(),
        "state": "running",
        "owner": "ada",
        "recipe": {"rank": 32, "lr": 0.002},
        "recipe_digest": digest_text("recipe"),
        "lineage": lineage,
        "started_ms": NOW_MS,
    }
    return Run(name=name, **values | fields)


def an_export(name: str = "support-merged", **fields: Any) -> Export:
    values: dict[str, Any] = {
        "format": "merged",
        "run_id": "run-1",
        "parent": digest_text("weights"),
        "base_digest": digest_text("base"),
        "tool": "peft",
        "tool_version": "0.21.0",
        "settings": {"seed": 7, "system_prompt": "Be \U0001f6a2"},
        "blob": digest_text("merged"),
        "num_bytes": 11_743_656,
        "checks": {"logit_error": 0.002},
        "seconds": 3.5,
        "created_ms": NOW_MS,
    }
    return Export(name=name, **values | fields)


def a_release(name: str = "support", adapter: str = "weights", **fields: Any) -> Release:
    values: dict[str, Any] = {
        "base": ModelRef(name="base", digest=digest_text("base")),
        "tokenizer_digest": digest_text("tokenizer"),
        "template_digest": digest_text("template"),
        "created_ms": NOW_MS,
    }
    return Release(name=name, adapter=digest_text(adapter), **values | fields)


def a_move(release: Release, from_stage: Any = "draft", to_stage: Any = "staging", **fields: Any) -> StageMove:
    values: dict[str, Any] = {"id": new_id(), "actor": "ada", "reason": "its checks passed", "at_ms": NOW_MS}
    return StageMove(release=release.digest, from_stage=from_stage, to_stage=to_stage, **values | fields)


def a_report(release: str = "sha256:r", **fields: Any) -> Report:
    values: dict[str, Any] = {
        "id": new_id(),
        "suite": "held-out",
        "suite_digest": digest_text("suite"),
        "dataset_digest": digest_text("rows"),
        "split": "test",
        "engine": "builtin",
        "created_ms": NOW_MS,
        "metrics": {"exact_match": Metric(value=0.9, low=0.85, high=0.94, num_rows=300)},
        "rows": digest_text("report rows"),
        "seconds": 12.5,
    }
    return Report(release=release, **values | fields)


def a_verdict(release: str = "sha256:r", **fields: Any) -> Verdict:
    values: dict[str, Any] = {
        "id": new_id(),
        "policy": "default",
        "policy_digest": digest_text("policy"),
        "passed": True,
        "checks": (Check(name="exact_match", passed=True, seen="0.90", demanded="at least 0.85"),),
        "reports": ("report-1",),
        "created_ms": NOW_MS,
    }
    return Verdict(release=release, **values | fields)


def an_approval(verdict: Verdict, **fields: Any) -> Approval:
    values: dict[str, Any] = {"id": new_id(), "person": "grace", "decision": "approve", "reason": "", "at_ms": NOW_MS}
    return Approval(verdict_id=verdict.id, **values | fields)


def a_rollout(service: str = "support", **fields: Any) -> Rollout:
    values: dict[str, Any] = {
        "id": new_id(),
        "champion": "sha256:a",
        "challenger": "sha256:b",
        "plan": Plan(steps=(Step(kind="canary", weight_bp=1000, min_samples=50),)),
        "salt": "salt",
        "state": "running",
        "step": 0,
        "started_ms": NOW_MS,
        "step_started_ms": NOW_MS,
        "events": (an_event("started"),),
    }
    return Rollout(service=service, **values | fields)


def a_launch(service: str = "support", release: str = "sha256:a", **fields: Any) -> Rollout:
    """The rollout by which a release became a service's first champion."""
    return a_rollout(service, champion="", challenger=release, state="promoted", **fields)


def an_event(kind: Any = "held", **fields: Any) -> RolloutEvent:
    values: dict[str, Any] = {"at_ms": NOW_MS, "step": 0, "reason": "too few", "evidence": {"num_rows": 3.0}}
    return RolloutEvent(kind=kind, **values | fields)


def a_table(version: int = 1, **fields: Any) -> RouteTable:
    return RouteTable(version=version, **{"created_ms": NOW_MS} | fields)


def a_key(id: str = "key-1", **fields: Any) -> Key:
    return Key(id=id, **{"hash": digest_text(id), "tenant": "acme"} | fields)


def an_interaction(**fields: Any) -> Interaction:
    values: dict[str, Any] = {
        "id": new_id(),
        "at_ms": NOW_MS,
        "service": "support",
        "tenant": "acme",
        "key_id": "key-1",
        "unit": digest_text("unit"),
        "release": "sha256:a",
        "role": "champion",
        "propensity": 0.9,
        "table_version": 3,
        "answer_hash": digest_text("refund_status"),
    }
    return Interaction(**values | fields)


def a_feedback(interaction_id: str, **fields: Any) -> Feedback:
    return Feedback(interaction_id=interaction_id, **{"id": new_id(), "at_ms": NOW_MS, "tenant": "acme"} | fields)
