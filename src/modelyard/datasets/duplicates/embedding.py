"""Vectors of texts: from an OpenAI-compatible address, or from a model in a local folder."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from modelyard.core.errors import DataInvalid, InvalidInput, MissingExtra, Unavailable
from modelyard.datasets.duplicates.config import SemanticDuplicatesConfig

Vectors = npt.NDArray[np.float32]
_BATCH = 64
_ATTEMPTS = 5
_TIMEOUT_S = 60.0


def embed(texts: Sequence[str], config: SemanticDuplicatesConfig) -> Vectors:
    """A vector of length 1 for each text. Shape: (texts, dims). Raises: Unavailable, DataInvalid, MissingExtra."""
    batches = [texts[begin : begin + _BATCH] for begin in range(0, len(texts), _BATCH)]
    found = list(_from_address(batches, config) if config.url else _from_folder(batches, config.model))
    vectors = np.concatenate(found) if found else np.zeros((0, 1), np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _from_address(batches: Sequence[Sequence[str]], config: SemanticDuplicatesConfig) -> Iterator[Vectors]:
    headers = {}
    if config.api_key_env:
        key = os.environ.get(config.api_key_env, "")
        if not key:
            raise InvalidInput(
                f"the environment variable {config.api_key_env} is not set",
                expected=f"the key of {config.url}",
                fix=f"export {config.api_key_env}=..., or correct `semantic_duplicates.api_key_env`",
            )
        headers["authorization"] = f"Bearer {key}"
    with httpx.Client(headers=headers, timeout=_TIMEOUT_S) as client:
        for batch in batches:
            yield _vectors(_asked(client, batch, config), len(batch), config)


def _asked(client: httpx.Client, batch: Sequence[str], config: SemanticDuplicatesConfig) -> Any:
    address = config.url.rstrip("/") + "/embeddings"
    said = ""
    for attempt in range(_ATTEMPTS):
        try:
            answer = client.post(address, json={"model": config.model, "input": list(batch)})
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
        else:
            if answer.status_code == httpx.codes.OK:
                return _json(answer)
            said = f"{answer.status_code} {answer.text[:200]}"
            if answer.status_code not in (408, 429) and answer.status_code < 500:
                break
        time.sleep(0.2 * 2**attempt)
    raise Unavailable(
        f"{address} does not embed: {said}",
        expected=f"an OpenAI-compatible server with the model '{config.model}'",
        fix="start it, or correct `semantic_duplicates` of the dataset",
    )


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _vectors(answer: Any, num_texts: int, config: SemanticDuplicatesConfig) -> Vectors:
    try:
        told = sorted(answer["data"], key=lambda one: one["index"])
        vectors = np.array([one["embedding"] for one in told], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"{config.url} answered with no embeddings: {str(answer)[:200]}") from error
    if vectors.shape[:1] != (num_texts,) or vectors.ndim != 2:
        raise Unavailable(f"{config.url} answered with {len(vectors)} embeddings for {num_texts} texts")
    return vectors


def _from_folder(batches: Sequence[Sequence[str]], model: str) -> Iterator[Vectors]:
    """The mean of a model's last hidden states over the tokens of each text."""
    if not Path(model).is_dir():
        raise DataInvalid(
            f"there is no model folder at {model}",
            expected="a folder as transformers saves a model and its tokenizer, or `url`",
            fix="correct `semantic_duplicates.model` of the dataset",
        )
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ModuleNotFoundError as error:
        raise MissingExtra("transformers", "training") from error
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    network = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    for batch in batches:
        tokens = tokenizer(list(batch), return_tensors="pt", padding=True, truncation=True, max_length=512)
        with torch.inference_mode():
            states = network(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        yield ((states * mask).sum(1) / mask.sum(1)).numpy().astype(np.float32)
