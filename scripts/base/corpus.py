"""The text that the base model learns from: documents from each source, in the tasks that teach it to read requests.

A document is one string with the special tokens in it. A missing source is left out and named. Knows nothing about
token ids or batches. The labels of the demonstration and of banking77 appear in no form, and of banking77 only the
rows of its training split.
"""

import csv
import json
import math
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from modelyard.datasets.splits import split_key, split_of
from modelyard.demo.messages import generate_messages

MESSAGE_SEED = 90210
NUM_MESSAGES = 24_000
CHARS_PER_TOKEN = 3.9

Writer = Callable[[random.Random], str]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One way to turn a source into documents, and its share of the corpus relative to the other tasks."""

    name: str
    source: str
    share: float
    write: Writer


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The documents in training order, and what went in: documents and characters per task, sources left out."""

    documents: list[str]
    tasks: dict[str, dict[str, int]]
    missing: list[str]


def build_corpus(sources: Path, wordnet: Path | None, seed: int, num_tokens: int) -> Corpus:
    """About `num_tokens` tokens of documents, shuffled; the same arguments and sources give the same documents."""
    rng = random.Random(f"corpus {seed}")
    tasks, missing = _tasks(sources, wordnet)
    total_share = sum(task.share for task in tasks)
    documents: list[str] = []
    counts: dict[str, dict[str, int]] = {}
    for task in tasks:
        written = list(_until(task.write, rng, num_tokens * CHARS_PER_TOKEN * task.share / total_share))
        counts[task.name] = {"documents": len(written), "characters": sum(map(len, written))}
        documents += written
    rng.shuffle(documents)
    return Corpus(documents=documents, tasks=counts, missing=missing)


def _until(write: Writer, rng: random.Random, num_chars: float) -> Iterator[str]:
    while num_chars > 0:
        document = write(rng)
        num_chars -= len(document)
        yield document


def _tasks(sources: Path, wordnet: Path | None) -> tuple[list[Task], list[str]]:
    """The tasks of every source that is there, and the names of the sources that are not."""
    tasks: list[Task] = []
    missing: list[str] = []
    readers: dict[str, Callable[[], list[Task]]] = {
        "clinc150": lambda: clinc_tasks(read_clinc(sources / "clinc150")),
        "banking77": lambda: unlabelled_tasks("banking77", read_banking(sources / "banking77"), 0.16),
        "messages": lambda: unlabelled_tasks("messages", read_messages(), 0.13),
        "gsm8k": lambda: [Task(name="gsm8k", source="gsm8k", share=0.12, write=gsm8k_writer(sources / "gsm8k"))],
        "wordnet": lambda: wordnet_tasks(wordnet or Path("missing")),
    }
    for name, read in readers.items():
        try:
            tasks += read()
        except FileNotFoundError:
            missing.append(name)
            print(f"{name}: not found, left out")
    return tasks, missing


# How a document looks


def plain(text: str) -> str:
    """A document of running text."""
    return f"<|bos|>{text}<|end|>"


def chat(*turns: str, system: str = "") -> str:
    """A conversation: user and assistant in turn, as the chat template writes it."""
    head = f"<|system|>{system}<|end|>" if system else ""
    roles = ("user", "assistant")
    return "<|bos|>" + head + "".join(f"<|{roles[i % 2]}|>{turn}<|end|>" for i, turn in enumerate(turns))


# clinc150: utterances with their intent

CLASSIFY = (
    "Classify the message.", "Answer with the intent of the message.", "Which intent does the message have?",
    "You sort customer requests. Reply with one label.", "Name the intent.", "Label the request of the customer.",
    "You are a router. Give the name of the queue for this message.", "What does the customer want? One label.",
    "Read the message and answer with its label only.", "Give the category of the question.",
)  # fmt: skip
ANOTHER_WAY = ("Say it another way.", "Another way to say this:", "Rephrase the request.", "Ask the same differently:")
SAME = ("Do these ask for the same thing?", "Same intent?", "Do both messages want the same?")
CHOOSE = ("Choose the label that fits.", "Which of these labels is right?", "Pick one label for the message.")
WRITE = ("Write a message with the intent {}.", "What could a user say for {}?", "Example of {}:")


def read_clinc(folder: Path) -> list[tuple[str, str]]:
    """(utterance, intent) of the training and validation files, those out of scope included."""
    rows = []
    for name in ("train", "val", "oos_train", "oos_val"):
        lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
        rows += [(str(row["text"]), str(row["intent"])) for row in map(json.loads, lines)]
    return [(text, "out_of_scope" if label == "oos" else label) for text, label in rows]


def clinc_tasks(rows: list[tuple[str, str]]) -> list[Task]:
    """Classification in several dresses, rewording within an intent, comparing two utterances."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for text, label in rows:
        by_label[label].append(text)
    labels = sorted(by_label)
    scoped = [row for row in rows if row[1] != "out_of_scope"]

    def classify(rng: random.Random) -> str:
        text, label = rng.choice(rows)
        text = dress(text, rng)
        style = rng.random()
        if style < 0.15:
            return chat(text, label.replace("_", " "), system=rng.choice(CLASSIFY) + " Use plain words.")
        if style < 0.45:
            return chat(text, label)
        if style < 0.6:
            return chat(f"{rng.choice(CLASSIFY)}\n{text}", label)
        return chat(text, label, system=rng.choice(CLASSIFY))

    def choose(rng: random.Random) -> str:
        text, label = rng.choice(rows)
        options = [*rng.sample(labels, rng.randrange(2, 5)), label]
        rng.shuffle(options)
        return chat(f"{rng.choice(CHOOSE)} {', '.join(dict.fromkeys(options))}\n{dress(text, rng)}", label)

    def reword(rng: random.Random) -> str:
        text, label = rng.choice(scoped)
        return chat(f"{rng.choice(ANOTHER_WAY)} {dress(text, rng)}", rng.choice(by_label[label]))

    def same(rng: random.Random) -> str:
        (text, label), wanted = rng.choice(scoped), rng.random() < 0.5
        other = rng.choice(by_label[label]) if wanted else rng.choice(scoped)[0]
        question = f"{rng.choice(SAME)}\n1. {dress(text, rng)}\n2. {dress(other, rng)}"
        return chat(question, "yes" if wanted or other in by_label[label] else "no")

    def write(rng: random.Random) -> str:
        text, label = rng.choice(scoped)
        return chat(rng.choice(WRITE).format(label), text)

    weights = ((classify, 0.26), (choose, 0.06), (reword, 0.07), (same, 0.03), (write, 0.02))
    return [Task(name=f"clinc150 {f.__name__}", source="clinc150", share=share, write=f) for f, share in weights]


def dress(text: str, rng: random.Random) -> str:
    """An utterance as written by hand: capital, question mark, a slip now and then."""
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
        text = re.sub(r"\bi\b", "I", text)
    if rng.random() < 0.5 and text[-1].isalnum():
        asks = text.split()[0].lower() in {"what", "how", "when", "where", "why", "can", "is", "do", "are", "who"}
        text += "?" if asks else "."
    return damage(text, rng, 0.03) if rng.random() < 0.15 else text


# Text without labels: banking77's training rows and generated messages


def read_banking(folder: Path) -> list[str]:
    """The questions of banking77 that the project's own split gives to training; no other row, and no label."""
    with (folder / "train.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"].strip() for row in csv.DictReader(file)]
    return [text for text in dict.fromkeys(texts) if split_of(split_key(text)) == "train"]


def read_messages() -> list[str]:
    """Generated messages from a seed of their own, without their labels."""
    return [text for text, _ in generate_messages(MESSAGE_SEED, NUM_MESSAGES)]


REPAIR = ("Fix the spelling.", "Correct the typos:", "Write this without mistakes:")
KEY_WORDS = ("Key words?", "What is it about? Key words only.", "Name the key words.")
CONTINUE = ("Continue:", "Finish the sentence:", "How does it go on?")
_STOP_TEXT = (
    "a about after all am an and any are as at be been but by can could did do does doesn't don't for from get got "
    "had has have hello hi how i i'd i'm i've if in is it it's its just like me my need no not now of on or please "
    "she so still that the their them there they this to up want was way we what when where which who why will with "
    "would you your thanks thank"
)
_STOP_WORDS = frozenset(_STOP_TEXT.split())


def unlabelled_tasks(source: str, texts: list[str], share: float) -> list[Task]:
    """Plain text, and tasks whose answer is in the text itself: repair, key words, rest, nearest other text."""
    near = neighbours(texts)

    def text_alone(rng: random.Random) -> str:
        return plain(rng.choice(texts)) if rng.random() < 0.6 else plain("\n".join(rng.sample(texts, 3)))

    def repair(rng: random.Random) -> str:
        text = rng.choice(texts)
        return chat(f"{rng.choice(REPAIR)} {damage(text, rng, 0.08)}", text)

    def key_words(rng: random.Random) -> str:
        text = rng.choice(texts)
        found = re.findall(r"[^\W\d_][\w']+", text.lower())
        words = list(dict.fromkeys(word for word in found if word not in _STOP_WORDS))[:6]
        return chat(f"{rng.choice(KEY_WORDS)}\n{text}", ", ".join(words) or "none")

    def rest(rng: random.Random) -> str:
        words = rng.choice(texts).split()
        cut = max(1, len(words) // 2)
        return chat(f"{rng.choice(CONTINUE)} {' '.join(words[:cut])}", " ".join(words[cut:]) or ".")

    def reword(rng: random.Random) -> str:
        index = rng.randrange(len(texts))
        return chat(f"{rng.choice(ANOTHER_WAY)} {texts[index]}", texts[rng.choice(near[index])])

    weights = ((text_alone, 0.3), (repair, 0.15), (key_words, 0.15), (rest, 0.1), (reword, 0.3))
    return [Task(name=f"{source} {f.__name__}", source=source, share=share * part, write=f) for f, part in weights]


def neighbours(texts: list[str], count: int = 4) -> list[list[int]]:
    """For each text the `count` nearest others by TF-IDF cosine: rewordings found without a label."""
    words = [set(re.findall(r"\w+", text.lower())) for text in texts]
    frequency: dict[str, int] = defaultdict(int)
    for word in (word for group in words for word in group):
        frequency[word] += 1
    columns = {word: i for i, word in enumerate(sorted(w for w, n in frequency.items() if n > 1))}
    vectors = torch.zeros(len(texts), len(columns), dtype=torch.bfloat16)
    for row, group in enumerate(words):
        for word in group & columns.keys():
            vectors[row, columns[word]] = math.log(len(texts) / frequency[word])
    vectors = torch.nn.functional.normalize(vectors.float(), dim=1).bfloat16()
    found: list[list[int]] = []
    for start in range(0, len(texts), 2048):
        scores = vectors[start : start + 2048] @ vectors.T
        scores[torch.arange(len(scores)), torch.arange(start, start + len(scores))] = -1
        found += scores.float().topk(min(count, len(texts) - 1), dim=1).indices.tolist()
    return found


def damage(text: str, rng: random.Random, rate: float) -> str:
    """The text with letters dropped, doubled or swapped, each position with probability `rate`."""
    letters = list(text)
    for i in range(1, len(letters) - 1):
        if letters[i].isalpha() and rng.random() < rate:
            kind = rng.randrange(3)
            if kind == 0:
                letters[i] = ""
            elif kind == 1:
                letters[i] *= 2
            else:
                letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


# gsm8k: word problems with worked answers


def gsm8k_writer(folder: Path) -> Writer:
    """Question and worked answer as a conversation, without the calculator's annotations."""
    lines = (folder / "train.jsonl").read_text("utf-8").splitlines()
    rows = [(row["question"], re.sub(r"<<.*?>>", "", row["answer"])) for row in map(json.loads, lines)]
    return lambda rng: chat(*rng.choice(rows))


# WordNet: what common words mean


def wordnet_tasks(folder: Path) -> list[Task]:
    """Definitions both ways and synonyms, for the words that WordNet's own reference texts use."""
    glosses = read_wordnet(folder)

    def define(rng: random.Random) -> str:
        words, gloss = rng.choice(glosses)
        word = rng.choice(words)
        style = rng.random()
        if style < 0.4:
            return chat(rng.choice((f"What does {word} mean?", f"Define {word}.", f"{word}?")), gloss)
        if style < 0.7:
            return chat(f"Which word means: {gloss}", word)
        return plain(f"{word}: {gloss}")

    def synonym(rng: random.Random) -> str:
        words, _ = rng.choice(several)
        one, other = rng.sample(words, 2)
        return chat(rng.choice((f"Another word for {one}?", f"Synonym of {one}:")), other)

    several = [entry for entry in glosses if len(entry[0]) > 1]
    return [
        Task(name="wordnet define", source="wordnet", share=0.11, write=define),
        Task(name="wordnet synonym", source="wordnet", share=0.03, write=synonym),
    ]


def read_wordnet(folder: Path) -> list[tuple[list[str], str]]:
    """(words, definition) of the senses that occur in WordNet's tagged texts.

    Source: the format is described in WordNet's wndb(5) manual page.
    """
    entries: list[tuple[list[str], str]] = []
    for part in ("noun", "verb", "adj", "adv"):
        wanted = _common_offsets(folder / f"index.{part}")
        for line in (folder / f"data.{part}").read_text("utf-8").splitlines():
            if line[:8] in wanted:
                fields, gloss = line.split(" | ", 1)
                parts = fields.split()
                words = [parts[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(int(parts[3], 16))]
                entries.append((words, gloss.split('; "')[0].strip()))
    return entries


def _common_offsets(index: Path) -> set[str]:
    """The offsets of the senses of each lemma that have been seen in tagged text."""
    offsets: set[str] = set()
    for line in index.read_text("utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            num_senses = int(fields[2])
            offsets.update(fields[len(fields) - num_senses :][: int(fields[-num_senses - 1])])
    return offsets
