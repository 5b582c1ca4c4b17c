"""Names and places, which no pattern knows: found by Microsoft Presidio over a spaCy pipeline. Slow, so asked for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from modelyard.core.digests import digest_json
from modelyard.core.errors import DataInvalid, MissingExtra
from modelyard.core.personal.spans import Span
from modelyard.datasets.personal.config import PresidioConfig

_BATCH_TEXTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Presidio:
    """A finder that each worker loads for itself. `digest` covers the packages and the pipeline, by their versions."""

    config: PresidioConfig
    pipeline: str
    digest: str

    @classmethod
    def load(cls, config: PresidioConfig, root: Path) -> "Presidio":
        """The finder of a configuration. Raises: MissingExtra; DataInvalid where there is no such pipeline."""
        folder = root / config.model
        pipeline = str(folder.resolve()) if folder.is_dir() else config.model
        analyzer = _analyzer(pipeline, config.language)
        found = sorted(analyzer.get_supported_entities(config.language))
        for entity in config.entities:
            if entity not in found:
                raise DataInvalid(
                    f"Presidio knows no entity '{entity}' in the language '{config.language}'",
                    expected=", ".join(found),
                    fix="correct `personal_data.presidio.entities` of the dataset",
                )
        return cls(config=config, pipeline=pipeline, digest=_digest(analyzer, config.language))

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """What is found in each text, as (start, end, kind): PERSON is the kind `person`."""
        # Imported where it is used, as spaCy takes seconds.
        from presidio_analyzer import BatchAnalyzerEngine

        config = self.config
        batches = BatchAnalyzerEngine(analyzer_engine=_analyzer(self.pipeline, config.language))
        found = batches.analyze_iterator(
            texts,
            config.language,
            batch_size=_BATCH_TEXTS,
            entities=list(config.entities),
            score_threshold=config.min_score,
        )
        return [[(one.start, one.end, one.entity_type.lower()) for one in results] for results in found]


@lru_cache(maxsize=1)
def _analyzer(pipeline: str, language: str) -> Any:
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "presidio_analyzer", "presidio") from error
    if not (spacy.util.is_package(pipeline) or Path(pipeline).is_dir()):
        # Presidio would download it, unasked.
        raise DataInvalid(
            f"there is no spaCy pipeline '{pipeline}'",
            expected="an installed package such as en_core_web_sm, or a folder that spaCy saved",
            fix=f"python -m spacy download {pipeline}, or correct `personal_data.presidio.model` of the dataset",
        )
    engine = SpacyNlpEngine(models=[{"lang_code": language, "model_name": pipeline}])
    try:
        engine.load()
    except (OSError, ValueError) as error:
        raise DataInvalid(
            f"the spaCy pipeline '{pipeline}' cannot be loaded: {error}",
            fix="install it for the spaCy that is here: python -m spacy validate",
        ) from error
    # It warns of each recogniser of another language.
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language], nlp_engine=engine)
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])


def _digest(analyzer: Any, language: str) -> str:
    from importlib.metadata import version

    meta = analyzer.nlp_engine.nlp[language].meta
    versions = {package: version(package) for package in ("presidio-analyzer", "spacy")}
    return digest_json({**versions, "pipeline": f"{meta.get('name')} {meta.get('version')}"})
