from __future__ import annotations

import csv
import io
import itertools
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from compare import benchmark, fusion, metrics, report
from compare.datasets import Dataset, Split, Unreadable, Video
from compare.scores import ScoreTable

HOSTILE = '<script>alert("x")</script>'
VOID = {"meta", "link", "col", "wbr", "br", "line", "path", "circle", "img", "input"}


def make_run(
    classes: tuple[str, ...] = ("hug", "kick", "wave"),
    *,
    n_each: int = 6,
    n_splits: int = 1,
    name: str = "set",
    fuse: str = "average,weighted:2/1",
) -> benchmark.Run:
    """Make a run of two methods and a yardstick with drawn scores, without any video."""
    rng = np.random.default_rng(7)
    videos = [
        Video(Path(f"{label}{k}"), f"{label}/{k}.avi", label, f"g{k}")
        for label in classes
        for k in range(n_each)
    ]
    splits = []
    for fold in range(n_splits):
        tests = [v for v in videos if int(v.group[1:]) % max(2, n_splits) == fold]  # type: ignore[index]
        trains = tuple(v.id for v in videos if v not in tests)
        splits.append(Split(f"fold {fold + 1}", trains, tuple(v.id for v in tests)))
    dataset = Dataset(name, Path(), tuple(videos), classes, tuple(splits), "drawn")
    tables: dict[str, list[ScoreTable]] = {}
    for method, skill in (("idt-fv", 1.5), ("conv-fusion", 1.2), ("flow-hist", 0.5)):
        for split in splits:
            own = np.array([[dataset.truth[id] == c for c in classes] for id in split.test])
            values = rng.normal(size=own.shape) + skill * own
            about: dict[str, Any] = {"fit_seconds": 75, "score_seconds": 0, "parameters": 2_000}
            about |= {"peak_memory_bytes": 3 * 2**29, "pretraining": "nothing"}
            about = {} if method == "flow-hist" else about
            made = ScoreTable(split.test, classes, values, "decision", method, split.name, about)
            tables.setdefault(method, []).append(made)

    def result(label: str, role: Any, of: list[ScoreTable], **more: Any) -> benchmark.Result:
        measured = metrics.evaluate(of, dataset.truth, groups=dataset.groups)
        return benchmark.Result(label, role, tuple(of), measured, **more)

    results = [result(m, "method", tables[m]) for m in ("idt-fv", "conv-fusion")]
    for rule in fusion.parse_rules(fuse, ["idt-fv", "conv-fusion"]):
        pairs = zip(tables["idt-fv"], tables["conv-fusion"], strict=True)
        fused = [fusion.fuse(pair, rule) for pair in pairs]
        results.append(result(rule.name, "fusion", fused, rule=rule))
    results.append(result("flow-hist", "yardstick", tables["flow-hist"]))
    return benchmark.Run(
        dataset=dataset,
        results=tuple(results),
        excluded=(Unreadable("bad.avi", "the file is empty (0 bytes)"),),
        unable={"frame-features": "needs ImageNet weights"},
        seed=0,
        command="trajfuse compare run --data set.csv",
        started="2026-01-02T03:04:05+00:00",
        seconds=80.0,
        peak_memory={"this process": 2**30, "largest worker": 0},
        versions={"trajfuse": "0.1", "numpy": np.__version__},
    )


class Page(HTMLParser):
    """Tags that balance, tables as lists of rows of texts, and everything that could load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: Counter[str] = Counter()
        self.tables: list[list[list[str]]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        given = dict(attrs)
        self.links += [str(v) for k, v in attrs if k in ("src", "href", "action", "data")]
        self.ids += [str(given["id"])] if "id" in given else []
        assert not [k for k in given if k.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data.strip()

    def table(self, corner: str) -> list[list[str]]:
        return next(table for table in self.tables if table[0][0] == corner)


def page_of(run: benchmark.Run) -> str:
    study = report.of_run(run)
    return report.as_html(study, report.find(study))


def test_the_page_is_one_balanced_file_that_loads_nothing() -> None:
    text = page_of(make_run())
    page = Page(text)
    assert page.count["h1"] == 1
    assert page.count["script"] == 1
    levels = [int(heading[1]) for heading in page.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("#", "data:,")) for link in page.links)
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", text)
    assert len(text) < 2_000_000


def test_the_page_shows_the_numbers() -> None:
    run = make_run()
    page = Page(page_of(run))
    rows = {row[0]: row for row in page.table("Method")}
    for result in run.results:
        measured = result.evaluation
        row = rows[result.label]
        assert row[2] == f"{100 * measured.accuracy:.1f}"
        assert f"{measured.n_right}/{measured.n_tested}" in row
        assert measured.by_group is not None
        low, high = 100 * measured.by_group.low, 100 * measured.by_group.high
        assert row[4] == f"{low:.1f}–{high:.1f}"
    costs = {row[0]: row for row in next(t for t in page.tables if "Peak memory" in t[0])}
    assert costs["idt-fv"][3] == "1 min 15 s"
    assert costs["idt-fv"][5:] == ["1.5 GiB", "2 k", "nothing"]
    assert costs["average"][3:] == ["2 min 30 s", "0.00 s", "1.5 GiB", "4 k", "nothing"]
    assert "flow-hist" not in costs  # says nothing
    drawn = re.findall(r'aria-label="([^"]*) against accuracy; not beaten', page_of(run))
    assert drawn == ["Time to fit and score", "Peak memory", "Parameters"]
    recalls = {row[0]: row for row in page.table("Class") if row[0] != "Class"}
    assert set(recalls) == {"hug", "kick", "wave"}
    matrices = [table for table in page.tables if table[0][0] == ""]
    assert len(matrices) == len(run.results)
    shown = [[[int(cell) for cell in row[1:]] for row in table[1:]] for table in matrices]
    assert all(result.evaluation.confusion.tolist() in shown for result in run.results)
    assert ["bad.avi", "the file is empty (0 bytes)"] in next(
        t for t in page.tables if "Reason" in t[0]
    )


def test_the_page_names_what_fusion_fixed_and_broke() -> None:
    run = make_run()
    best = max(run.of("method"), key=lambda r: r.evaluation.n_right)
    found = metrics.change(best.evaluation, run.of("fusion")[0].evaluation)
    rows = Page(page_of(run)).table("Became")[1:]
    expected = [("right", a.id) for a, _ in found.fixed] + [
        ("wrong", a.id) for a, _ in found.broken
    ]
    assert expected
    assert [(row[0], row[1]) for row in rows] == expected


@pytest.mark.parametrize("n_splits", [1, 3])
def test_hostile_names_are_shown_and_not_run(n_splits: int) -> None:
    classes = (HOSTILE, "kick & 'hug'", "{{ 7*7 }}")
    run = make_run(classes, name=f"{HOSTILE}|*x*", n_splits=n_splits)
    text = page_of(run)
    page = Page(text)
    assert page.count["script"] == 1
    assert "<script>alert" not in text
    shown = {row[0] for table in page.tables for row in table}
    assert set(classes) <= shown
    study = report.of_run(run)
    markdown = report.as_markdown(study, report.find(study))
    assert "<script>" not in markdown.replace("\\<", "")


def test_hostile_texts_stay_within_their_attributes_and_cells() -> None:
    """Ids are made of classes; reasons and commands come from outside, too."""
    quoted = '"\' onload=alert(1) x="'
    plain = make_run((quoted, f"</td>{HOSTILE}", "--><b>"), name=quoted)
    run = replace(
        plain,
        excluded=(Unreadable(quoted + HOSTILE, f"{HOSTILE}\n</table>"),),
        unable={quoted: HOSTILE},
        command=f"trajfuse {quoted} {HOSTILE}",
        versions={**plain.versions, quoted: HOSTILE},
    )
    page = Page(page_of(run))  # refuses attributes that run something, and tags that do not balance
    assert page.count["script"] == 1
    assert page.count["b"] == Page(page_of(make_run())).count["b"]
    cells = {cell for table in page.tables for row in table for cell in row}
    assert any(HOSTILE in cell for cell in cells)


def test_names_in_the_terminal_are_no_markup() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(report.terminal_table(make_run(("[red]a", "[/b]", "c"), name="[/set] [bold]")))
    assert "[/set] [bold]" in console.file.getvalue()


def test_many_classes_become_heat_maps() -> None:
    classes = tuple(f"class {k:03d}" for k in range(101))
    run = make_run(classes, n_each=4)
    text = page_of(run)
    page = Page(text)
    assert page.count["canvas"] == len(run.results)
    assert not [table for table in page.tables if table[0][0] == ""]
    assert len(text) < 2_000_000
    drawn = []
    for given in re.findall(r'data-cells="(.*?)"', text):
        counts = np.zeros((101, 101), dtype=int)
        for row, flat in enumerate(json.loads(given)):
            counts[row, flat[::2]] = flat[1::2]
        drawn.append(counts.tolist())
    assert all(result.evaluation.confusion.tolist() in drawn for result in run.results)
    assert json.loads(re.findall(r'id="class-names">(.*?)</script>', text)[0]) == list(classes)


def test_splits_have_a_table_of_their_own() -> None:
    run = make_run(n_splits=3)
    rows = Page(page_of(run)).table("Split")
    assert [row[0] for row in rows] == ["Split", "fold 1", "fold 2", "fold 3", "Mean of splits"]
    by_label = {result.label: result for result in run.results}
    for column, label in enumerate(rows[0][3:], start=3):
        by_split = by_label[label].evaluation.accuracy_by_split
        assert rows[1][column] == f"{100 * by_split['fold 1']:.1f}"
    costs = next(t for t in Page(page_of(run)).tables if t[0][:3] == ["Method", "Split", "Fit"])
    assert [row[:3] for row in costs if row[0] == "idt-fv"] == [
        ["idt-fv", f"fold {k}", "1 min 15 s"] for k in (1, 2, 3)
    ]


def test_one_method_alone() -> None:
    run = make_run(fuse="")
    page = Page(page_of(run))
    assert "fusion" not in page.ids
    assert report.headline(report.of_run(run)).startswith("idt-fv is right on")


def test_csv_has_a_row_for_each_result() -> None:
    study = report.of_run(make_run())
    found = report.find(study)
    rows = list(csv.DictReader(io.StringIO(report.results_csv(study, found))))
    assert {row["label"] for row in rows} == {entry.label for entry in study.entries}
    accuracies = [float(row["accuracy"]) for row in rows if row["role"] != "yardstick"]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies == pytest.approx([r.entry.accuracy for r in found.ranks][:-1], abs=1e-6)
    pairs = list(csv.DictReader(io.StringIO(report.pairs_csv(found))))
    assert [float(row["p_holm"]) for row in pairs] == pytest.approx(
        [pair.adjusted for pair in found.pairs], rel=1e-4
    )


def test_markdown_rows_keep_their_columns() -> None:
    study = report.of_run(make_run())
    named = replace(study.entries[-1], label="flow|hist")
    study = replace(study, entries=(*study.entries[:-1], named))
    text = report.as_markdown(study, report.find(study))
    lines = [line for line in text.split("##")[0].splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(study.entries)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {8}
    assert "flow\\|hist" in text


def test_latex_names_are_escaped_and_rows_keep_their_columns() -> None:
    study = report.of_run(make_run(name="50% of A&B_{x}~\\end"))
    text = report.as_latex(study, report.find(study))
    assert r"50\% of A\&B\_\{x\}\textasciitilde{}\textbackslash{}end" in text
    rows = [line for line in text.split(r"\end{table}")[0].splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + len(study.entries)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert not set(text) & set("–−")


def test_terminal_table_fits_80_columns() -> None:
    console = Console(width=80, file=io.StringIO())
    run = make_run()
    named = replace(run.results[0], label="idt-fv:n_components=8:n_samples=20000")
    console.print(report.terminal_table(replace(run, results=(named, *run.results[1:]))))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "1 min 15 s" in text


def test_the_headline_says_more_fewer_or_as_many() -> None:
    run = make_run()
    gained = run.of("fusion")[0].evaluation.n_right - max(
        r.evaluation.n_right for r in run.of("method")
    )
    word = "more" if gained > 0 else "fewer" if gained < 0 else "as many"
    assert word in report.headline(report.of_run(run))
    assert "left out, cannot be read: bad.avi: the file is empty (0 bytes)" in report.notes(run)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1234, "0.12 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3720, "1 h 02 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


def test_written_files(tmp_path: Path) -> None:
    page = report.write(make_run(), tmp_path / "run")
    assert page == tmp_path / "run/report.html"
    names = {path.name for path in page.parent.iterdir()}
    assert names == {
        *("report.html", "report.md", "report.tex", "results.csv", "pairs.csv", "videos.csv"),
        "labels.csv",
    }


BROWSER = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --dump-dom "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--enable-logging=stderr --v=0"
).split()
READING = """
document.querySelectorAll("#results th button")[2].click();
const typed = document.getElementById("filter");
typed.value = "KICK";
typed.dispatchEvent(new Event("input"));
for (const key of ["ArrowDown", "ArrowDown", "ArrowRight"])
  document.querySelector("canvas.heat")?.dispatchEvent(new KeyboardEvent("keydown", { key }));
const loaded = performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("data:"));
document.documentElement.dataset.requests = loaded.length;
"""


def opened(chromium: str, page: Path, profile: Path) -> str:
    """Open the page as a reader would: sort, type, move; return what it then shows."""
    page.write_text(page.read_text().replace("</body>", f"<script>{READING}</script></body>"))
    done = subprocess.run(
        [chromium, *BROWSER, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    assert 'data-requests="0"' in done.stdout
    return re.sub(r"<(line|path|circle)([^>]*)></\1>", r"<\1\2/>", done.stdout)


def test_a_browser_opens_the_page_sorts_and_filters_without_complaint(
    tmp_path: Path, requires: Callable[[str], Any]
) -> None:
    page = report.write(make_run((HOSTILE, "kick", "wave"), n_splits=3), tmp_path / "run")
    text = opened(requires("chromium"), page, tmp_path / "profile")
    shown = Page(text)
    rows = [row for row in shown.table("Method") if len(row) > 1]
    assert 'aria-sort="descending"' in text
    accuracies = [float(row[2]) for row in rows[1:5]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert shown.count["table"] == Page(page.read_text()).count["table"]
    videos = re.search(r'<table id="disputed">.*?</table>', text, re.S)
    assert videos is not None
    hidden = re.findall(r"<tr hidden.*?</tr>", videos[0], re.S)
    kept = [row for row in re.findall(r"<tr>.*?</tr>", videos[0], re.S) if "<td" in row]
    assert hidden
    assert kept
    assert not [row for row in hidden if "kick" in row]
    assert all("kick" in row for row in kept)


def test_a_browser_reads_the_cells_of_a_heat_map(
    tmp_path: Path, requires: Callable[[str], Any]
) -> None:
    run = make_run(tuple(f"class {k:02d}" for k in range(20)))
    page = report.write(run, tmp_path / "run")
    text = opened(requires("chromium"), page, tmp_path / "profile")
    first = report.find(report.of_run(run)).ranks[0].entry.evaluation.confusion
    said = f"class 01 called class 01: {first[1, 1]} of {first[1].sum()} videos"
    assert f'role="status">{said}</p>' in text
