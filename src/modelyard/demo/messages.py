"""The demonstration's raw data: customer messages with their intent, first clean, then spoilt on purpose.

Seeded and pure standard library: the same seed gives the same bytes on every machine. Knows nothing about how the
faults are found again.
"""

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from modelyard.demo.phrases import CLOSINGS, CONTEXTS, INTENTS, OPENINGS, SLOTS

LABELS = tuple(INTENTS)
SHIPPED_SEED = 7
SHIPPED_ROWS = 4500

_ALTERNATIVES = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_CHANNELS = ("chat", "email", "app", "phone_note")
_SHORT_FORMS = {
    "please": "pls", "you": "u", "are": "r", "thanks": "thx", "because": "bc", "message": "msg", "your": "ur",
    "tomorrow": "tmrw", "with": "w/", "about": "abt", "delivery": "delivry", "received": "recieved",
    "address": "adress", "order": "ordr", "cannot": "cant", "number": "nr",
}  # fmt: skip

Row = dict[str, object]


# Clean messages


def expand(pattern: str, rng: random.Random) -> str:
    """One text of a pattern: each `(a|b)` and `{slot}` replaced by a random choice, innermost first."""
    while True:
        chosen = _ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("|")), pattern)
        chosen = _SLOT.sub(lambda match: rng.choice(SLOTS[match[1]].split("|")), chosen)
        if chosen == pattern:
            return " ".join(chosen.replace(" ,", ",").split())
        pattern = chosen


def generate_messages(seed: int, num_rows: int) -> list[tuple[str, str]]:
    """Clean (text, label) pairs: labels drawn evenly, no two texts alike when case and spacing are ignored."""
    rng = random.Random(f"messages {seed}")
    seen: set[str] = set()
    rows: list[tuple[str, str]] = []
    while len(rows) < num_rows:
        label = rng.choice(LABELS)
        text = _message(label, rng)
        key = " ".join(text.casefold().split())
        if key not in seen:
            seen.add(key)
            rows.append((text, label))
    return rows


def _message(label: str, rng: random.Random) -> str:
    request = expand(rng.choice(INTENTS[label]), rng)
    parts = [_one_of(OPENINGS, rng)] if rng.random() < 0.4 else []
    if rng.random() < 0.3:
        parts.append(_one_of(CONTEXTS, rng))
    parts.append(_sentence(request, rng))
    if rng.random() < 0.12:
        parts.append(_one_of(CONTEXTS, rng))
    if rng.random() < 0.35:
        parts.append(_one_of(CLOSINGS, rng) + rng.choice((".", "!", "", "", " :)")))
    return _rough(" ".join(parts), rng)


def _one_of(patterns: str, rng: random.Random) -> str:
    return expand(rng.choice(patterns.split("|")), rng)


def _sentence(text: str, rng: random.Random) -> str:
    if rng.random() < 0.8:
        text = text[0].upper() + text[1:]
    if text[-1] not in "?!.":
        text += rng.choice((".", ".", ".", "!", "", "..."))
    elif text[-1] == "?" and rng.random() < 0.15:
        text = text[:-1] + rng.choice(("", "??", "?!", " ?"))
    return text


def _rough(text: str, rng: random.Random) -> str:
    """The text as people type it: some all lower case, some shortened, some with slips of the finger."""
    if rng.random() < 0.2:
        text = text.lower()
    elif rng.random() < 0.02:
        text = text.upper()
    if rng.random() < 0.1:
        text = text.replace("'", "")
    if rng.random() < 0.12:
        text = " ".join(_SHORT_FORMS.get(w, w) if rng.random() < 0.7 else w for w in text.split(" "))
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 1, 2))):
        text = _slip(text, rng)
    return text


def _slip(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    long_words = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long_words:
        return text
    i = rng.choice(long_words)
    at = rng.randrange(1, len(words[i]) - 1)
    head, here, after, tail = words[i][:at], words[i][at], words[i][at + 1], words[i][at + 2 :]
    words[i] = rng.choice((head + after + here + tail, head + after + tail, head + here + here + after + tail))
    return " ".join(words)


# Faults: each function takes a clean row and gives the line or lines that stand for it


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _near_duplicate(text: str, rng: random.Random) -> str:
    """The same message with one or two words changed, or only its punctuation."""
    words = text.split(" ")
    change = rng.randrange(4)
    if change == 0:
        return text.rstrip(".!? ") + rng.choice((" please.", "!!", " ?", " ...", ", thanks"))
    if change == 1:
        return rng.choice(("Well, ", "So ", "Ok, ", "And ", "Please: ")) + text
    if change == 2 and len(words) > 8:
        words.insert(rng.randrange(2, len(words)), rng.choice(("really", "just", "now", "actually", "again")))
        return " ".join(words)
    return text + rng.choice((" Please.", " Soon!", " Ok?", " - thank you", " Asap."))


def _broken_json(row: Row, rng: random.Random) -> str:
    good = _line(row)
    return rng.choice(
        (
            good[: rng.randrange(len(good) // 3, len(good) - 2)],
            good[:-1],
            good[:-1] + ",}",
            good.replace('"', "'"),
            good.replace('"text": ', '"text" '),
            good + good,
            f"ERROR 504 upstream timed out while exporting {row['id']}",
            json.dumps([row["id"], row["text"], row["intent"]], ensure_ascii=False),
        )
    )


def _missing_key(row: Row, rng: random.Random) -> str:
    missing = rng.choice(("text", "intent"))
    return _line({key: value for key, value in row.items() if key != missing})


def _empty_text(row: Row, rng: random.Random) -> str:
    return _line({**row, "text": rng.choice(("", " ", "\n\n", "\t", "\u00a0 \u200b", None))})


def _overlong(row: Row, rng: random.Random) -> str:
    """A row with a pasted thread or log under the message: 3,000 to 6,000 characters."""
    pasted, length = [str(row["text"])], rng.randrange(3000, 6000)
    while sum(map(len, pasted)) < length:
        pasted.append(rng.choice(("\n> ", "\n>> ", "\n---\n")) + _message(rng.choice(LABELS), rng))
    return _line({**row, "text": "".join(pasted)})


def _odd_characters(text: str, rng: random.Random) -> str:
    middle = text.find(" ", len(text) // 3)
    at = middle if middle >= 0 else len(text)
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text[:at])
    oddities: tuple[Callable[[], str], ...] = (
        lambda: "\ufeff" + text,
        lambda: text.replace(" ", "\u00a0"),
        lambda: text[:at] + "\u200b" + text[at:] + "\u200d",
        lambda: wide + text[at:],
        lambda: text.replace("'", "\u2019") + " \U0001f64f\U0001f3fd",
        lambda: text[:at] + "\x07\x00" + text[at:],
        lambda: "  \t" + text.replace(" ", "   ") + "\r\n ",
        lambda: text[:at] + "\u202e" + text[at:] + "\u202c",
        lambda: text.replace("e", "e\u0301", 1) + "\x1b[0m",
        lambda: text + " caf\u00c3\u00a9 \ufffd",
    )
    return rng.choice(oddities)()


# Personal data, and numbers that only look like it


def luhn_valid(digits: str) -> bool:
    """Whether a string of digits carries a right check digit (ISO/IEC 7812-1)."""
    doubled = [int(c) * (2 if i % 2 else 1) for i, c in enumerate(reversed(digits))]
    return sum(d // 10 + d % 10 for d in doubled) % 10 == 0


def iban_valid(iban: str) -> bool:
    """Whether an IBAN leaves remainder 1 modulo 97 (ISO 13616)."""
    compact = iban.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _digits(count: int, rng: random.Random) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _email(rng: random.Random) -> str:
    first = rng.choice(("anna", "j.smith", "tom_k", "maria.lopez", "wei", "o.brien", "sara+shop", "p.novak"))
    host = rng.choice(("example.com", "example.org", "mail.example.net", "example.co.uk"))
    return f"{first}{rng.choice(('', str(rng.randrange(99))))}@{host}"


def _phone(rng: random.Random) -> str:
    """A number from the ranges kept free for fiction (Ofcom's 07700 900xxx, the North American 555-01xx)."""
    last = _digits(3, rng)
    return rng.choice(
        (f"07700 900{last}", f"+44 7700 900{last}", f"(212) 555-01{last[:2]}", f"+1-415-555-01{last[:2]}")
    )


def _card(rng: random.Random) -> str:
    body = rng.choice(("4", "51", "55")) + _digits(14, rng)
    body = body[:15]
    check = next(c for c in "0123456789" if luhn_valid(body + c))
    return rng.choice((" ", "-", "")).join(re.findall("....", body + check))


def _iban(rng: random.Random) -> str:
    country, length = rng.choice((("DE", 18), ("FR", 23), ("AT", 16), ("BE", 12)))
    account = _digits(length, rng)
    check = next(f"{n:02}" for n in range(2, 99) if iban_valid(f"{country}{n:02}{account}"))
    compact = f"{country}{check}{account}"
    return rng.choice((compact, " ".join(compact[i : i + 4] for i in range(0, len(compact), 4))))


_PERSONAL: Mapping[str, tuple[Callable[[random.Random], str], tuple[str, ...]]] = {
    "email": (_email, ("My e-mail is {}", "you can write to {}", "account: {}", "reply to {} please")),
    "phone": (_phone, ("Call me on {}", "my number is {}", "Tel. {}", "reach me at {} after six")),
    "card": (_card, ("I paid with card {}", "card number {}", "my Visa is {}", "it is the card {}")),
    "iban": (_iban, ("Send the money to {}", "my account is {}", "IBAN {}", "bank details: {}")),
}


def _lookalike(rng: random.Random) -> str:
    """A number or address that is not personal data: an order, a version, a date, a broken check digit."""
    broken = _card(rng)
    broken = broken[:-1] + str((int(broken[-1]) + 3) % 10)
    return rng.choice(
        (
            f"Order number HC-{_digits(8, rng)}",
            f"tracking {broken}",
            f"parcel code JD{_digits(16, rng)}",
            f"I use version {rng.randrange(1, 9)}.{rng.randrange(20)}.{rng.randrange(9)} of the app",
            f"it was on 20{rng.randrange(24, 27)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
            f"bought on {rng.randrange(1, 29)}/{rng.randrange(1, 13)}/2026 at 14:{rng.randrange(10, 60)}",
            f"item no. {_digits(4, rng)}-{_digits(4, rng)}",
            f"the total was {rng.randrange(1, 9)},{_digits(3, rng)}.{_digits(2, rng)}",
            f"they tweet as @harbourco{rng.randrange(9)}",
            f"ticket {_digits(10, rng)}",
        )
    )


def _append(text: str, extra: str) -> str:
    return f"{text}{'' if text[-1] in '.?!' else '.'} {extra}."


# The messy file

# Share of all lines; what is left over is clean.
_SHARES: Mapping[str, float] = {
    "exact_duplicate": 0.05,
    "near_duplicate": 0.05,
    "broken_json": 0.015,
    "empty_text": 0.01,
    "missing_key": 0.01,
    "overlong": 0.005,
    "odd_characters": 0.03,
    "personal_email": 0.015,
    "personal_phone": 0.015,
    "personal_card": 0.01,
    "personal_iban": 0.01,
    "lookalike_number": 0.05,
    "conflicting_label": 0.004,
}
_NO_ID = "m-?????"
_REPEATS = ("exact_duplicate", "near_duplicate", "conflicting_label")


def write_messy(path: Path, seed: int, num_rows: int) -> dict[str, int]:
    """Write `num_rows` lines of JSON with planted faults; return how many lines carry each fault, and `clean`.

    A line carries one fault at most. A repeated or contradicting line comes after the clean one it was made from.
    """
    rng = random.Random(f"faults {seed}")
    counts = {kind: max(1, round(share * num_rows)) for kind, share in _SHARES.items()}
    num_repeats = sum(counts[kind] for kind in _REPEATS)
    messages = generate_messages(seed, num_rows - num_repeats)
    kinds = [kind for kind in counts if kind not in _REPEATS for _ in range(counts[kind])]
    counts["clean"] = len(messages) - len(kinds)
    kinds += ["clean"] * counts["clean"]
    rng.shuffle(kinds)
    placed = list(enumerate(_base_lines(messages, kinds, rng)))
    origins = rng.sample([i for i, kind in enumerate(kinds) if kind == "clean"], num_repeats)
    for repeat in (kind for kind in _REPEATS for _ in range(counts[kind])):
        origin = origins.pop()
        placed.append((rng.randrange(origin, len(messages)), _repeat(repeat, *messages[origin], rng)))
    ordered = [line for _, line in sorted(placed, key=lambda place: place[0])]
    numbered = [line.replace(_NO_ID, f"m-{i:05}") for i, line in enumerate(ordered, 1)]
    path.write_bytes("".join(f"{line}\n" for line in numbered).encode())
    return dict(sorted(counts.items()))


def _base_lines(messages: list[tuple[str, str]], kinds: list[str], rng: random.Random) -> Iterator[str]:
    for (text, label), kind in zip(messages, kinds, strict=True):
        if kind.startswith("personal_"):
            make, frames = _PERSONAL[kind.removeprefix("personal_")]
            text = _append(text, rng.choice(frames).format(make(rng)))
        elif kind == "lookalike_number":
            text = _append(text, _lookalike(rng))
        elif kind == "odd_characters":
            text = _odd_characters(text, rng)
        row = _row(text, label, rng)
        yield _SPOIL[kind](row, rng) if kind in _SPOIL else _line(row)


_SPOIL: Mapping[str, Callable[[Row, random.Random], str]] = {
    "broken_json": _broken_json,
    "empty_text": _empty_text,
    "missing_key": _missing_key,
    "overlong": _overlong,
}


def _row(text: str, label: str, rng: random.Random) -> Row:
    row: Row = {"id": _NO_ID, "text": text, "intent": label}
    if rng.random() < 0.9:
        row["channel"] = rng.choice(_CHANNELS)
    return row


def _repeat(kind: str, text: str, label: str, rng: random.Random) -> str:
    if kind == "near_duplicate":
        text = _near_duplicate(text, rng)
    elif kind == "conflicting_label":
        label = rng.choice([other for other in LABELS if other != label])
    return _line(_row(text, label, rng))


def main() -> None:
    """Write the messy file that the arguments ask for and print what was planted as JSON."""
    parser = argparse.ArgumentParser(description="Write a messy file of customer-support messages.")
    parser.add_argument("out", type=Path, help="the JSONL file to write")
    parser.add_argument("--seed", type=int, default=SHIPPED_SEED)
    parser.add_argument("--rows", type=int, default=SHIPPED_ROWS, help="lines to write")
    arguments = parser.parse_args()
    print(json.dumps(write_messy(arguments.out, arguments.seed, arguments.rows), indent=2))


if __name__ == "__main__":
    main()
