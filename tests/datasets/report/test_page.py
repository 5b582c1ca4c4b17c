"""The page and the words of a report: everything is there, nothing is taken for markup, nothing is fetched."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np

from modelyard.datasets.index import Drops
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.report.building import clusters, straddling
from modelyard.datasets.report.page import render_page
from modelyard.datasets.report.terminal import report_sections
from tests.datasets.report.made import Made, report_of

EVIL = "<script>alert('x')</script>&amp;"
ROWS = {
    "train": [Made(f"question {'long ' * n}", "x", label=f"{EVIL} {n % 3}") for n in range(40)],
    "test": [Made("held out", "x", label="kind")],
}
LOST = [Rejection(source=f"{EVIL}.jsonl", line=line, reason=f"broken JSON: {EVIL}", raw=EVIL) for line in range(12)]
VOID = {"meta"}


class Tags(HTMLParser):
    """Every tag is closed by its own."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def full_report() -> dict[str, object]:
    largest = [{"rows": 4, "source": "rows.jsonl", "line": 3, "prompt": EVIL}]
    return report_of(
        ROWS,
        dropped=LOST,
        name=EVIL,
        clusters={"exact": {"clusters": 1, "rows": 4, "largest": largest}},
        straddling={"near_duplicates": {"train to test": 5}},
    )


def test_the_page_is_whole_and_escaped() -> None:
    page = render_page(full_report())
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert "&lt;script&gt;alert" in page


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = render_page(full_report())
    assert re.findall(r"(?:https?:)?//|\bsrc=|\bhref=|@import|url\(", page) == []


def test_every_plot_has_a_title_and_bars_within_its_frame() -> None:
    plots = re.findall(r"<svg.*?</svg>", render_page(full_report()), re.DOTALL)
    assert len(plots) == 4  # steps, labels, prompt lengths, languages: the answers are all of one length
    for plot in plots:
        svg = ElementTree.fromstring(plot)
        assert svg.findtext("title") == svg.get("aria-label")
        width, height = map(float, svg.attrib["viewBox"].split()[2:])
        bars = svg.findall("rect")
        assert bars
        for bar in bars:
            assert 0 <= float(bar.attrib["x"]) <= float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
            assert 0 <= float(bar.attrib["y"]) <= float(bar.attrib["y"]) + float(bar.attrib["height"]) <= height
            assert bar.findtext("title")


def test_a_report_on_next_to_nothing_is_rendered() -> None:
    page = render_page(report_of({"train": [Made("a", "b")]}))
    assert "No row has a label." in page
    assert "No row would have leaked." in page


def test_the_same_report_gives_the_same_page() -> None:
    assert render_page(full_report()) == render_page(full_report())


def test_words_hold_all_that_was_counted() -> None:
    sections = {section.title: section for section in report_sections(full_report(), verbose=True)}
    assert all(len(line) == len(section.headings) for section in sections.values() for line in section.lines)
    assert sections["Steps"].lines[0] == ("reading", "53", "12", "", "41", "12 broken JSON")
    assert len(sections["Dropped by 'reading': 10 of 12"].lines) == 10
    assert [line[1:4] for line in sections["Labels: 4"].lines][-1] == ("", "", "1")
    assert ("near_duplicates", "alike rows in two splits, train to test", "5") in sections["Leakage kept out"].lines
    assert sections["Personal data (mode mask)"].lines == [("email", "2")]


def test_the_largest_clusters_come_first() -> None:
    sizes = np.array([1, 3, 9, 3, 7, 2], np.int32)
    alive = np.array([True, True, True, True, False, True])
    found = clusters(sizes, alive, lambda places: [("rows.jsonl", int(place) + 1, "x" * 500) for place in places])
    assert (found["clusters"], found["rows"]) == (4, 17)
    assert [(one["line"], one["rows"]) for one in found["largest"]] == [(3, 9), (2, 3), (4, 3), (6, 2)]
    assert len(found["largest"][0]["prompt"]) == 160
    assert clusters(np.ones(3, np.int32), np.ones(3, bool), lambda places: [])["largest"] == []


def test_rows_that_gave_way_to_another_split_would_have_leaked() -> None:
    split = np.array([0, 2, 2, 0, 1], np.int8)
    drops = Drops(
        places=np.array([0, 2, 3, 4]),
        causes=("near-duplicate",),
        cause=np.zeros(4, np.uint8),
        witness=np.array([1, 1, 1, -1]),
        numbers=np.zeros((4, 2)),
    )
    assert straddling(drops, split) == {"train to test": 2}
