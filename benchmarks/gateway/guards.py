"""What filters cost: CPU microseconds for each streamed piece, and for each KB of a request.

Run: `python benchmarks/gateway/guards.py [--seconds 0.5] [--json]`. Pieces are words as models send them. The last
column is the whole way of a chunk: its JSON read, the text filtered, the JSON written.
"""

import argparse
import json
import time
from collections.abc import Callable

import msgspec

from modelyard.gateway.errors import Refusal
from modelyard.gateway.guards.chunks import ChunkGuard
from modelyard.gateway.guards.filters import Guards
from modelyard.gateway.guards.masking import mask
from modelyard.ports.serving import Filter

PROSE = "The delivery of your parcel is late, because the road was closed. We are sorry and will send it again. "
NUMBERS = "Room 12 on floor 3 costs 149.50 a night; call 030 1234567 or write to desk@example.com before 6 pm. "
CJK = "您的包裹因道路封闭而延误我们深表歉意并将重新发送给您请耐心等待"
WORDS = ",".join(f"forbidden{number}" for number in range(100))
FILTERS = {
    "personal_data": Filter(kind="personal_data", action="mask"),
    "deny, 100 words": Filter(kind="deny", action="mask", options={"words": WORDS}),
    "deny, 3 patterns": Filter(
        kind="deny", action="mask", options={"patterns": "acct-\\d{6}\nproject\\s+x\n\\bnda\\b"}
    ),
    "max_chars": Filter(kind="max_chars", options={"limit": "100000000"}),
    "injection": Filter(kind="injection", action="log", on="request"),
}


def pieces_of(text: str) -> list[str]:
    """Pieces as a tokenizer makes them: a blank and its word, or two letters where there are no blanks."""
    if " " not in text:
        return [text[at : at + 2] for at in range(0, len(text), 2)]
    return [" " + word for word in text.split()]


def microseconds(work: Callable[[], object], each: int, seconds: float) -> float:
    """CPU by unit of work, the best of three."""
    best = float("inf")
    for _ in range(3):
        begin, runs = time.process_time(), 0
        while (spent := time.process_time() - begin) < seconds / 3:
            work()
            runs += 1
        best = min(best, spent / runs / each)
    return best * 1e6


def guards_of(one: Filter) -> Guards:
    guards = Guards.build([one])
    assert guards is not None
    return guards


def stream_cost(one: Filter, text: str, seconds: float) -> float:
    guards, pieces = guards_of(one), pieces_of(text * 10)

    def work() -> None:
        answer = guards.answer()
        assert answer is not None
        for piece in pieces:
            answer.feed(0, piece)
        answer.finish(0)

    return microseconds(work, len(pieces), seconds)


def chunk_cost(one: Filter, seconds: float) -> float:
    guards = guards_of(one)
    like = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [[{"index": 0, "delta": {"content": piece}, "finish_reason": None}] for piece in pieces_of(PROSE * 10)]
    chunks = [msgspec.json.encode({**like, "choices": choice}) for choice in choices]

    def work() -> None:
        answer = guards.answer()
        assert answer is not None
        guard = ChunkGuard(answer)
        for chunk in chunks:
            assert not isinstance(guard.feed(chunk), Refusal)

    return microseconds(work, len(chunks), seconds)


def request_cost(one: Filter, text: str, seconds: float) -> float:
    guards = guards_of(one)
    content = (text * 100)[:4096]
    raw = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": content}]})
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return microseconds(lambda: guards.check_request(dict(fields)), len(content.encode()) // 1024, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each is measured")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = []
    for name, one in FILTERS.items():
        row: dict[str, object] = {"filter": name}
        if name != "injection":
            for label, text in (("prose", PROSE), ("numbers", NUMBERS), ("cjk", CJK)):
                row[f"piece_{label}_us"] = round(stream_cost(one, text, given.seconds), 2)
            row["chunk_prose_us"] = round(chunk_cost(one, given.seconds), 2)
        for label, text in (("prose", PROSE), ("numbers", NUMBERS)):
            row[f"request_{label}_us_per_kb"] = round(request_cost(one, text, given.seconds), 1)
        rows.append(row)
        if not given.json:
            print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    kb = (PROSE * 100)[:1024]
    rows.append({"filter": "mask (journal)", "us_per_kb": round(microseconds(lambda: mask(kb), 1, given.seconds), 1)})
    print(json.dumps(rows, indent=2) if given.json else rows[-1])


if __name__ == "__main__":
    main()
