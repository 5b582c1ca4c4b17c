"""Make the base model that ships with the project: corpus, tokenizer, pretraining, model card.

    python scripts/make_base.py --sources DATA --wordnet WORDNET --out src/modelyard/demo/base --minutes 45

DATA has the folders banking77, clinc150 and gsm8k; WORDNET is the `dict` folder of WordNet 3.0 (Debian's
`wordnet-base` has it at /usr/share/wordnet). What is missing is left out, and the model card says so.
"""

import argparse
import json
import time
from pathlib import Path

from base.card import write_card
from base.corpus import build_corpus
from base.pretrain import Schedule, pack, pretrain
from base.vocabulary import save_tokenizer, train_tokenizer


def main() -> None:
    """Build the base from end to end."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    corpus = build_corpus(arguments.sources, arguments.wordnet, arguments.seed, arguments.tokens)
    print(json.dumps({"corpus": corpus.tasks, "seconds": round(time.monotonic() - started)}), flush=True)
    tokenizer = train_tokenizer(corpus.documents[:150_000])
    save_tokenizer(tokenizer, arguments.out)

    windows = pack(corpus.documents, tokenizer, arguments.window)
    filled = (windows.segments > 0).float().mean().item()
    print(json.dumps({"windows": len(windows.ids), "filled": round(filled, 3)}), flush=True)
    schedule = Schedule(
        num_steps=arguments.steps, minutes=arguments.minutes, batch_size=arguments.batch, window=arguments.window
    )
    figures = pretrain(tokenizer, windows, schedule, arguments.seed, arguments.workers, arguments.out)
    figures["windows"] = len(windows.ids)
    measured = arguments.measured.read_text("utf-8") if arguments.measured else ""
    write_card(arguments.out, corpus, schedule, figures, arguments.workers, measured)
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the base model that ships with the project.")
    parser.add_argument("--sources", type=Path, required=True, help="folder with banking77, clinc150, gsm8k")
    parser.add_argument("--wordnet", type=Path, help="folder with WordNet's index.* and data.* files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--measured", type=Path, help="a Markdown section for the model card: fine-tuning figures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=24_000_000, help="size of the corpus; read again when used up")
    parser.add_argument("--steps", type=int, default=5000, help="training steps at most")
    parser.add_argument("--minutes", type=float, help="stop after so long; then the run is not reproducible bit by bit")
    parser.add_argument("--batch", type=int, default=16, help="windows per step")
    parser.add_argument("--window", type=int, default=384, help="tokens per window")
    parser.add_argument("--workers", type=int, default=2, help="processes, one core each")
    return parser.parse_args()


if __name__ == "__main__":
    main()
