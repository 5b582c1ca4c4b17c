"""Filters on quality: what they find, and that they leave real rows alone."""

import csv
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from modelyard.datasets.quality.config import QualityConfig
from modelyard.datasets.quality.gibberish import fault, gibberish
from modelyard.datasets.quality.judging import judge_quality
from modelyard.datasets.quality.language import foreign, language_of
from modelyard.datasets.quality.repetition import repeated_share
from modelyard.datasets.texts import Texts
from tests.datasets.conversations import asked

SHARED = Path(__file__).parents[4] / "shared" / "data"
ALL = QualityConfig(
    languages=("en",), repetition=0.5, gibberish=True, boilerplate=True, refusals=True, placeholders=True
)
FINE = "The parcel was sent on Monday and should be with you by the end of the week."


def real(name: str) -> list[dict[str, str]]:
    path = next((SHARED / name).glob("train.*"), None) if (SHARED / name).is_dir() else None
    if path is None:
        pytest.skip(f"../shared/data/{name} is not here")
    with path.open(newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


@pytest.mark.parametrize(
    ("prompt", "answer", "reason"),
    [
        ("where is it", "N/A", "placeholder"),
        ("where is it", " ... ", "placeholder"),
        ("where is it", "[null]", "placeholder"),
        ("where is it", "-", "placeholder"),
        ("where is it", "<your answer here>", "placeholder"),
        ("sdfkjhsdf kjhwer lkjsdf qwrtzpsd", "jkhgfd lkjhgf", "gibberish: mashed keys"),
        ("Das gefÃ¤llt mir und kÃ¶nnte grÃ¶ÃŸer sein", "schÃ¶n", "gibberish: a broken encoding"),
        ("decode " + "QmFzZTY0IGlzIG5vdCBhIGxhbmd1YWdl" * 4, "no", "gibberish: binary as text"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaah nooooooooooooo", "ok", "gibberish: one letter over and over"),
        ("it is \ufffd\ufffd\ufffd \ufffd\ufffd here", "\ufffd\ufffd", "gibberish: a broken encoding"),
        ("hash " + "9f86d081884c7d659a2feaa0c55ad015" * 4, "no", "gibberish: binary as text"),
        ("%$#@ &*^% $#@! ~~~ ||| {}{} <<>> ^^^", "fine", "gibberish: mostly symbols"),
        ("tell me", "I like it very much indeed. " * 8, "repetition: "),
        ("what is this", "Lorem ipsum dolor sit amet, consectetur", "boilerplate"),
        ("Home | Share on Facebook", "Share on Twitter. All rights reserved.", "boilerplate"),
        ("tell me", "As an AI language model, I do not have feelings.", "refusal"),
        ("tell me", "Unfortunately, I am unable to do that.", "refusal"),
        ("tell me", "I\u2019m sorry, but I can\u2019t assist with that request.", "refusal"),
        ("Wo ist mein Paket und wann kommt es endlich an?", "Es wird morgen zugestellt.", "language: 'de', wanted en"),
    ],
)
def test_faults_are_found(prompt: str, answer: str, reason: str) -> None:
    outcome = judge_quality(asked(("Where is my parcel, please?", FINE), (prompt, answer)), ALL)
    assert list(outcome.rejected) == [1]
    assert outcome.rejected[1].startswith(reason)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("I am unable to log in, sorry. As an AI fan I ask.", FINE),
        ("What is 2 + 2?", "4"),
        ("Which sign adds?", "+"),
        ("What would help?", "As an aid to memory, write it down. As an air hostess I did."),
        ("How do I enable JavaScript in my browser?", "Open the settings; our cookie notice says more about it."),
        ("What is your privacy policy?", FINE),
        ("How was it?", "\U0001f44d"),
        ("Any news?", "No."),
        (
            "My hash is 9f86d081884c7d659a2feaa0c55ad0159f86d081884c7d659a2feaa0c55ad015, and here is why I ask: "
            + FINE,
            FINE,
        ),
        ("How is it spelt?", "The town is Crkvnjk in the valley; its neighbours call it by another name."),
        ("Über was sprach er?", "Größe ist relativ, sagte er, and then in English: " + FINE + " " + FINE),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "A table of two columns, with a row of numbers in it."),
        ("你好", "中文"),
        ("Do you have any?", "None of them is left, sorry."),
        ("Write a loop.", "for i in range(10):\n    total += x[i] ** 2  # sum\n    print(f'{total}')"),
        ("Who said 'as an AI'?", "The model said: 'As an AI, I cannot'."),
        ("Solve.", "x^2 + y^2 = z^2, so $x = \\sqrt{z^2 - y^2}$."),
    ],
)
def test_what_is_fine_stays(prompt: str, answer: str) -> None:
    assert judge_quality(asked((prompt, answer)), ALL).rejected == {}


def test_nothing_is_judged_unasked() -> None:
    assert not QualityConfig().is_on
    assert judge_quality(asked(("x", "N/A")), QualityConfig()).rejected == {}


def test_phrases_can_be_added() -> None:
    config = QualityConfig(
        refusals=True, refusal_phrases=("computer says no", "(nope)", "nié"),
        boilerplate=True, boilerplate_phrases=("the yard's own footer",),
    )  # fmt: skip
    rows = asked(
        ("x", "Computer says no, again"), ("x", "(Nope) never"), ("x", "Nié, pas moi"),
        ("x", "see the yard\u2019s own footer"), ("x", "computer says nothing"),
    )  # fmt: skip
    assert sorted(judge_quality(rows, config).rejected) == [0, 1, 2, 3]


def test_a_call_of_a_tool_may_say_nothing() -> None:
    assert judge_quality(asked(("x", "")), QualityConfig(placeholders=True)).rejected == {}


def test_the_first_fault_names_the_reason_and_all_are_counted() -> None:
    outcome = judge_quality(asked(("Lorem ipsum dolor sit amet", "N/A")), ALL)
    assert outcome.rejected == {0: "placeholder: the answer only holds a place"}
    assert outcome.findings["placeholder"] == outcome.findings["boilerplate"] == 1


def test_mashed_keys_are_found_and_words_are_not() -> None:
    rng = random.Random(4)
    mashed = [
        " ".join("".join(rng.choices("sdfghjklqwrtpzxcvbnm", k=rng.randint(5, 12))) for _ in range(6))
        for _ in range(300)
    ]
    config = QualityConfig(gibberish=True)
    assert len(judge_quality(asked(*((text, "") for text in mashed)), config).rejected) > 285


@pytest.mark.parametrize(
    ("name", "field", "most"), [("banking77", "text", 0.001), ("clinc150", "text", 0.002), ("gsm8k", "question", 0.001)]
)
def test_real_rows_are_left_alone(name: str, field: str, most: float) -> None:
    chosen = real(name)[::5]
    rejected = judge_quality(asked(*((row[field], row.get("answer", "fine")) for row in chosen)), ALL).rejected
    print(name, len(chosen), [(chosen[row][field], reason) for row, reason in rejected.items()])
    assert len(rejected) <= most * len(chosen)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from("bkz aeA=/-0\u00c3\u00a4\u20ac\u2192\ufffd\u4e2d%"), max_size=90), max_size=4))
def test_the_kernel_passes_over_no_gibberish(texts: list[str]) -> None:
    found = gibberish(Texts.of(texts))
    assert found == {place: what for place, text in enumerate(texts) if (what := fault(text))}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["one", "two", "three"]), max_size=60))
def test_repetition_counts_words_in_repeated_runs(words: list[str]) -> None:
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for start in range(len(words) - 4):
        run = tuple(words[start : start + 5])
        if run in seen:
            covered.update(range(start, start + 5))
        seen.add(run)
    share = len(covered) / len(words) if len(words) >= 20 else 0.0
    assert repeated_share(Texts.of(["", " ".join(words)])).tolist() == pytest.approx([0.0, share])


FOREIGN = {
    "de": "Wo ist mein Paket und wann kommt es endlich bei mir an? Ich warte seit Montag.",
    "nl": "Is het pakket of de brief al onderweg, en kan ik het in de winkel ophalen?",
    "fr": "Où est le colis que j'ai commandé la semaine dernière ? Je l'attends encore.",
    "es": "¿Dónde está mi paquete y por qué no ha llegado a casa todavía?",
    "it": "Dove si trova il mio pacco e perché non è ancora arrivato a casa mia?",
    "pt": "Onde está a minha encomenda e por que ainda não chegou a casa?",
    "sv": "Var är mitt paket och varför har det inte kommit fram till mig ännu?",
    "pl": "Gdzie jest moja paczka i dlaczego jeszcze do mnie nie dotarła?",
    "ru": "Где моя посылка и почему она до сих пор не пришла?",
    "zh": "我的包裹在哪里。为什么到现在还没有送到我家。请尽快告诉我。",
    "ja": "私の荷物はどこですか。なぜまだ届いていないのか教えてください。",
}


@pytest.mark.parametrize("code", FOREIGN)
def test_each_language_is_told_from_english(code: str) -> None:
    texts = Texts.of([FOREIGN[code], FINE])
    assert language_of(FOREIGN[code]) == code
    assert foreign(texts, ("en",)) == {0: code}
    assert foreign(texts, (code,)) == {1: "en"}
    assert foreign(texts, ("en", code)) == {}


def test_an_answer_in_another_language_is_seen_behind_a_long_question() -> None:
    config = QualityConfig(languages=("en",))
    rows = asked((FINE, FOREIGN["de"] * 20), (FINE * 20, "Ja, gern."))
    assert list(judge_quality(rows, config).rejected) == [0]


@pytest.mark.parametrize("code", ["english", "EN", "e", "en-US"])
def test_what_is_no_code_of_a_language_is_told(code: str) -> None:
    with pytest.raises(ValidationError, match="languages"):
        QualityConfig(languages=(code,))


@pytest.mark.parametrize(("name", "field"), [("banking77", "text"), ("clinc150", "text"), ("gsm8k", "question")])
def test_english_is_taken_for_english(name: str, field: str) -> None:
    texts = [text for row in real(name) if sum(map(str.isalpha, text := row[field])) >= 20][::10]
    told = [language_of(text) in ("en", "") for text in texts]
    print(name, len(told), sum(told) / len(told))
    assert sum(told) >= 0.98 * len(told)
    assert len(foreign(Texts.of(texts), ("en",))) <= 0.002 * len(texts)


def test_languages_are_told() -> None:
    assert language_of("Where is the parcel that I ordered on Monday?") == "en"
    assert language_of("Où est le colis que j'ai commandé la semaine dernière ?") == "fr"
    assert language_of("ok") == ""
