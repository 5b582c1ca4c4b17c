"""Precision and recall of the finders of personal data, by kind, on made messages with labels.

    python benchmarks/personal_data.py [--rows 400] [--json]

Values follow the public formats of each kind, in several countries and spellings; negatives are what looks like them
in support mail and code: orders, versions, dates, prices, coordinates, books, parcels, hashes. The generator knows the
conventions and not the finders; what is missed is listed with --misses. Intervals are Wilson's, 95%.
"""

import argparse
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from modelyard.core.personal.cards import luhn_valid
from modelyard.datasets.personal.finding import find_in_all
from modelyard.datasets.texts import Texts

Make = Callable[[random.Random], str]
_NAMES = ("anna", "li.wei", "j.smith", "o.garcia", "maria-jose", "k_mueller", "sven99", "info+shop")
_HOSTS = ("example.com", "mail.example.co.uk", "firma.de", "uni-koeln.de", "xn--bcher-kva.example", "example.museum")
_IBANS = (
    "DE89370400440532013000",
    "GB29NWBK60161331926819",
    "FR1420041010050500013M02606",
    "NL91ABNA0417164300",
    "ES9121000418450200051332",
    "CH9300762011623852957",
    "SE4550000000058398257466",
    "IT60X0542811101000000123456",
)
_NATIONAL = (
    "SSN 219-09-9999",
    "NINO AB123456C",
    "DNI 12345678Z",
    "numéro 2 55 08 14 168 025 38",
    "CPF 111.444.777-35",
    "PESEL 44051401359",
    "BSN 111222333",
    "personnummer 811228-9874",
    "Steuer-ID 86095742719",
    "SIN 046 454 286",
    "codice fiscale RSSMRA85T10A562S",
    "Aadhaar 2341 2341 2346",
    "TFN 123 456 782",
    "id 11010519491231002X",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400, help="messages of each kind; as many negatives of each sort")
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rows)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'':<14}{'recall':>8}{'95%':>18}{'precision':>11}{'95%':>18}")
    for kind, one in found["kinds"].items():
        spans = [f"{low:.3f} to {high:.3f}" for low, high in (one["recall_interval"], one["precision_interval"])]
        print(f"{kind:<14}{one['recall']:>8.3f}{spans[0]:>18}{one['precision']:>11.3f}{spans[1]:>18}")
    print(f"{found['mb_per_cpu_s']:.0f} MB in a CPU-second, of texts of which most hold something")
    if options.misses:
        print("\n".join(found["misses"]))


def measure(num_rows: int) -> dict[str, Any]:
    """Recall and precision by kind."""
    rng = random.Random(11)
    texts, wanted = messages(rng, num_rows)
    column = Texts.of(texts)
    find_in_all(column)
    began = time.process_time()
    found = find_in_all(column)
    used_s = time.process_time() - began
    hit, miss, false = Counter[str](), Counter[str](), Counter[str]()
    misses = []
    for place, (text, (kind, value)) in enumerate(zip(texts, wanted, strict=True)):
        spans = {(text[start:end], one) for start, end, one in found.get(place, [])}
        right = {span for span in spans if kind and span[1] == kind and (span[0] in value or value in span[0])}
        false.update(one for _, one in spans - right)
        if kind:
            (hit if right else miss)[kind] += 1
        if bool(right) != bool(kind) or spans - right:
            misses.append(f"{kind or 'nothing'}: {text!r} gave {sorted(spans)}")
    kinds = {}
    for kind in sorted({kind for kind, _ in wanted if kind}):
        told, all_found = hit[kind] + miss[kind], hit[kind] + false[kind]
        kinds[kind] = {
            "recall": hit[kind] / told,
            "recall_interval": wilson(hit[kind], told),
            "precision": hit[kind] / max(1, all_found),
            "precision_interval": wilson(hit[kind], all_found),
        }
    return {"kinds": kinds, "mb_per_cpu_s": len(column.data) / 1e6 / used_s, "misses": misses}


def messages(rng: random.Random, num_rows: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Texts with the kind and the value that each holds; both empty for a negative."""
    frames = (
        "hello, {} is mine",
        "please use {} from now on",
        "I wrote: {}. Nobody answered!",
        "({})",
        "see {}\nthanks",
    )
    texts, wanted = [], []
    for kind, make in KINDS.items():
        for _ in range(num_rows):
            value = make(rng)
            texts.append(rng.choice(frames).format(value))
            wanted.append((kind, value))
    for make in NEGATIVES:
        for _ in range(num_rows):
            texts.append(rng.choice(frames).format(make(rng)))
            wanted.append(("", ""))
    return texts, wanted


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95% interval of a share. Source: Wilson (1927)."""
    if not trials:
        return 0.0, 1.0
    z = 1.959964
    centre = (hits + z * z / 2) / (trials + z * z)
    half = z * math.sqrt(hits * (trials - hits) / trials + z * z / 4) / (trials + z * z)
    return max(0.0, centre - half), min(1.0, centre + half)


def _digits(rng: random.Random, num: int) -> str:
    return "".join(rng.choices("0123456789", k=num))


def _word(rng: random.Random, num: int) -> str:
    return "".join(rng.choices("abcdefghijABCDEFGHIJ0123456789", k=num))


def _phone(rng: random.Random) -> str:
    area = str(rng.randint(201, 989))
    return rng.choice(
        (
            f"+1 {area} 555 {_digits(rng, 4)}",
            f"({area}) 555-{_digits(rng, 4)}",
            f"{area}-555-{_digits(rng, 4)}",
            f"+44 7700 900{_digits(rng, 3)}",
            f"020 7946 0{_digits(rng, 3)}",
            f"+49 30 23125 {_digits(rng, 3)}",
            f"0151 2345{_digits(rng, 4)}",
            f"01 99 00 {_digits(rng, 2)} {_digits(rng, 2)}",
            f"+33 1 99 00 {_digits(rng, 2)} {_digits(rng, 2)}",
            f"+91 98{_digits(rng, 3)} {_digits(rng, 5)}",
        )
    )


def _card(rng: random.Random) -> str:
    body = rng.choice(("4", "51", "55", "2221")) + _digits(rng, 15)
    number = next(body[:15] + digit for digit in "0123456789" if luhn_valid(body[:15] + digit))
    groups = [number[place : place + 4] for place in range(0, 16, 4)]
    return rng.choice((" ", "-", "")).join(groups)


def _iban(rng: random.Random) -> str:
    value = rng.choice(_IBANS)
    return value if rng.random() < 0.5 else " ".join(value[place : place + 4] for place in range(0, len(value), 4))


def _ip(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(
            ("2001:db8::8a2e:370:7334", "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "fe80::1ff:fe23:4567:890a")
        )
    return f"{rng.randint(11, 223)}." + ".".join(str(rng.randint(0, 255)) for _ in range(3))


def _key(rng: random.Random) -> str:
    return rng.choice(
        (
            f"sk-{_word(rng, 40)}",
            f"sk-proj-{_word(rng, 60)}",
            f"sk-ant-api03-{_word(rng, 80)}",
            f"ghp_{_word(rng, 36)}",
            f"glpat-{_word(rng, 20)}",
            "AKIA" + "".join(rng.choices("ABCDEFGHIJKLMNOP234567", k=16)),
            f"hf_{_word(rng, 34)}",
            f"xoxb-{_digits(rng, 12)}-{_word(rng, 24)}",
            f"AIza{_word(rng, 35)}",
            f"npm_{_word(rng, 36)}",
        )
    )


KINDS: dict[str, Make] = {
    "email": lambda rng: f"{rng.choice(_NAMES)}@{rng.choice(_HOSTS)}",
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ip": _ip,
    "key": _key,
    "national_id": lambda rng: rng.choice(_NATIONAL),
}
NEGATIVES: tuple[Make, ...] = (
    lambda rng: f"order {_digits(rng, 10)}",
    lambda rng: f"order #{_digits(rng, 3)}-{_digits(rng, 7)}-{_digits(rng, 7)}",
    lambda rng: f"version {rng.randint(1, 20)}.{rng.randint(0, 30)}.{rng.randint(0, 9)}.{rng.randint(0, 99)}",
    lambda rng: (
        f"20{_digits(rng, 2)}-{rng.randint(10, 12)}-{rng.randint(10, 28)} {rng.randint(10, 23)}:{rng.randint(10, 59)}"
    ),
    lambda rng: f"${rng.randint(1, 999)},{_digits(rng, 3)},{_digits(rng, 3)}.{_digits(rng, 2)}",
    lambda rng: f"{rng.uniform(-90, 90):.6f}, {rng.uniform(-180, 180):.6f}",
    lambda rng: f"ISBN 978-3-16-{_digits(rng, 6)}-{_digits(rng, 1)}",
    lambda rng: f"tracking number 1Z{_digits(rng, 3)}AA1{_digits(rng, 10)}",
    lambda rng: "".join(rng.choices("0123456789abcdef", k=rng.choice((32, 40, 64)))),
    lambda rng: f"@{rng.choice(_NAMES)} on the forum",
    lambda rng: f"std::vector<int>::{rng.choice(('begin', 'end', 'size'))}",
    lambda rng: f"invoice {_digits(rng, 8)} of 20{_digits(rng, 2)}",
    lambda rng: f"serial {_digits(rng, 4)} {_digits(rng, 4)} {_digits(rng, 4)}",
)


if __name__ == "__main__":
    main()
