"""The command ``trajfuse compare test``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compare.cli.measured import Data, DataForm, Tolerant, evaluate, read_labels, read_tables
from compare.cli.options import Seed
from compare.cli.show import Form, Format, Rows, as_csv, show

if TYPE_CHECKING:
    from compare.metrics import Evaluation
    from compare.significance import Comparison, Gain, Outcomes, Standing

Sheet = tuple[tuple[str, ...], Rows]  # columns and rows of texts
METHOD_COLUMNS = (
    *("method", "accuracy", "low", "high", "top5", "mean_class", "map"),
    *("splits", "seeds", "videos", "interval"),
)
PAIR_COLUMNS = (
    *("first", "second", "difference", "low", "high", "p", "p_holm", "p_by_video"),
    *("fixed", "broken", "oracle", "double_fault", "disagreement"),
    *("interval", "test", "test_by_video"),
)
GAIN_COLUMNS = (
    *("base", "fused", "control", "gain", "p_holm", "control_gain", "control_p_holm"),
    *("over_control", "over_control_low", "over_control_high", "over_control_p_holm"),
)
CLASS_COLUMNS = ("first", "second", "class", "fixed", "broken")
VIDEO_COLUMNS = (
    *("first", "second", "split", "id", "truth"),
    *("first_said", "second_said", "first_right", "second_right"),
)


def compare_tables(
    tables: Annotated[
        list[str],
        typer.Argument(
            help="Tables of scores (.npz, .csv) or folders of them, each maybe NAME=PATH. Tables "
            "of one method are its splits and seeds."
        ),
    ],
    labels: Data,
    form: DataForm = None,
    tolerant: Tolerant = "",
    against: Annotated[
        str | None, typer.Option(help="Compare every method with this one, not all pairs.")
    ] = None,
    pair: Annotated[
        list[str] | None, typer.Option(help="FIRST,SECOND: compare this pair; may be repeated.")
    ] = None,
    gain: Annotated[
        list[str] | None,
        typer.Option(
            help="BASE,FUSED,CONTROL: the gain of FUSED over BASE beside that of CONTROL, the same "
            "fusion with a second seed or network of BASE's kind. May be repeated."
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals, 0 to 1.")] = 0.95,
    no_groups: Annotated[
        bool, typer.Option("--no-groups", help="Take test videos as independent.")
    ] = False,
    seed: Seed = 0,
    shown: Format = Form.TABLE,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for methods.csv, pairs.csv, gains.csv, classes.csv (what each pair fixed "
            "and broke by class) and videos.csv (by video)."
        ),
    ] = None,
) -> None:
    """Test differences between score tables: by group, jointly over splits, Holm-adjusted.

    Example: trajfuse compare test scores/ --labels ucf101_splits/ --gain net,net+idt,net+net

    Accuracies are means over splits (and seeds), in percent. Every interval and test names its
    method; the test by video is a second opinion.
    """
    from compare import significance

    known = read_labels(labels, form)
    evaluations = evaluate(read_tables(tables), known, tolerant=tolerant, grouped=not no_groups)
    methods = {name: significance.outcomes(of) for name, of in evaluations.items()}
    groups = None if no_groups else known.groups
    gains = significance.gains(
        methods, gains_asked(gain or []), groups=groups, confidence=confidence, seed=seed
    )
    pairs = significance.compare(
        methods,
        _pairs_asked(methods, against, pair, bool(gain)),
        groups=groups,
        confidence=confidence,
        seed=seed,
    )
    standings = [
        significance.standing(name, of, groups=groups, confidence=confidence)
        for name, of in methods.items()
    ]
    sheets: dict[str, Sheet] = {"methods": _method_sheet(standings, evaluations)}
    if pairs:
        sheets["pairs"] = PAIR_COLUMNS, [_pair_row(each) for each in pairs]
    if gains:
        sheets["gains"] = GAIN_COLUMNS, [_gain_row(each) for each in gains]
    if shown is Form.TABLE:
        _show_for_people(sheets, confidence)
    else:
        for number, (name, (columns, rows)) in enumerate(sheets.items()):
            if number and shown is Form.CSV:
                print()
            show(name, columns, rows, shown)
    if out is not None:
        compared = [*pairs, *(part for each in gains for part in _parts(each))]
        sheets["classes"] = CLASS_COLUMNS, [row for each in compared for row in _class_rows(each)]
        sheets["videos"] = (
            VIDEO_COLUMNS,
            [row for each in compared for row in _video_rows(each, methods)],
        )
        _write(sheets, out)


def _pairs_asked(
    methods: Mapping[str, Outcomes], against: str | None, pair: list[str] | None, gains: bool
) -> list[tuple[str, str]]:
    """Pairs that were named, else each with one, else (where no gain is asked for) all."""
    if pair and against is not None:
        raise ValueError(f"against must be left out beside pair, got {against!r}")
    if pair:
        asked = []
        for text in pair:
            names = text.split(",")
            if len(names) != 2:
                raise ValueError(f"pair must be FIRST,SECOND, got {text!r}")
            asked.append((names[0], names[1]))
        return asked
    if against is not None:
        if against not in methods:
            raise ValueError(f"against must be among {', '.join(methods)}, got {against!r}")
        return [(against, name) for name in methods if name != against]
    return [] if gains else list(combinations(methods, 2))


def gains_asked(texts: Sequence[str]) -> list[tuple[str, str, str | None]]:
    """Read BASE,FUSED and BASE,FUSED,CONTROL."""
    asked: list[tuple[str, str, str | None]] = []
    for text in texts:
        names = text.split(",")
        if len(names) not in (2, 3):
            raise ValueError(f"gain must be BASE,FUSED,CONTROL, got {text!r}")
        asked.append((names[0], names[1], names[2] if len(names) == 3 else None))
    return asked


def _method_sheet(
    standings: Sequence[Standing], evaluations: Mapping[str, Sequence[Evaluation]]
) -> Sheet:
    rows = []
    for standing in standings:
        of = evaluations[standing.method]
        top5 = [each.top5 for each in of if each.top5 is not None]
        rows.append(
            [
                standing.method,
                *map(_percent, (standing.accuracy, standing.interval.low, standing.interval.high)),
                _percent(sum(top5) / len(top5)) if top5 else "–",
                _percent(sum(each.mean_class_accuracy for each in of) / len(of)),
                _percent(sum(each.mean_average_precision for each in of) / len(of)),
                str(len(of[0].accuracy_by_split)),
                str(standing.n_seeds),
                str(of[0].n_tested),
                standing.interval.method,
            ]
        )
    return METHOD_COLUMNS, rows


def _pair_row(each: Comparison) -> list[str]:
    overlap = each.complementarity
    return [
        each.first,
        each.second,
        *map(_points, (each.difference, each.interval.low, each.interval.high)),
        *map(_p, (each.test.p, each.adjusted, each.by_video.p)),
        *(f"{float(counts.sum()):g}" for counts in (each.fixed, each.broken)),
        *map(_percent, (overlap.oracle, overlap.double_fault, overlap.disagreement)),
        each.interval.method,
        each.test.method,
        each.by_video.method,
    ]


def _gain_row(each: Gain) -> list[str]:
    row = [each.fused.first, each.fused.second]
    row += ["none given" if each.control is None else each.control.second]
    row += [_points(each.fused.difference), _p(each.fused.adjusted)]
    if each.control is None or each.over_control is None:
        return row + ["–"] * (len(GAIN_COLUMNS) - len(row))
    over = each.over_control
    row += [_points(each.control.difference), _p(each.control.adjusted)]
    row += [*map(_points, (over.difference, over.interval.low, over.interval.high))]
    return [*row, _p(over.adjusted)]


def _class_rows(each: Comparison) -> list[list[str]]:
    counts = zip(each.classes, each.fixed, each.broken, strict=True)
    return [[each.first, each.second, name, f"{a:g}", f"{b:g}"] for name, a, b in counts]


def _video_rows(each: Comparison, methods: Mapping[str, Outcomes]) -> list[list[str]]:
    """Videos on which a pair differs: what was said, and the shares of the seeds that are right."""
    first, second = methods[each.first], methods[each.second]
    said = [
        [" / ".join(sorted(set(of))) for of in zip(*m.predicted, strict=True)]
        for m in (first, second)
    ]
    right = [m.mean.tolist() for m in (first, second)]
    rows = zip(first.rows, first.truth, *said, *right, strict=True)
    return [
        [each.first, each.second, split, id, truth, a_said, b_said, f"{a:g}", f"{b:g}"]
        for (split, id), truth, a_said, b_said, a, b in rows
        if a != b
    ]


def _parts(each: Gain) -> list[Comparison]:
    return [c for c in (each.fused, each.control, each.over_control) if c is not None]


def _show_for_people(sheets: Mapping[str, Sheet], confidence: float) -> None:
    """Print what fits a terminal, then by which methods each row was found."""
    in_words = {"methods": 1, "pairs": 3}  # last columns
    said = []
    for name, (columns, rows) in sheets.items():
        n = len(columns) - in_words.get(name, 0)
        title = f"{name}: percent, {100 * confidence:g} % intervals"
        show(title, columns[:n], [row[:n] for row in rows], Form.TABLE)
        subject = 2 if name == "pairs" else 1
        said += [
            f"{', '.join(row[:subject])}: {'; '.join(row[n:])}" for row in rows if n < len(row)
        ]
    for line in said:
        print(line)


def _write(sheets: Mapping[str, Sheet], out: Path) -> None:
    from compare.scores import write_whole

    for name, (columns, rows) in sheets.items():
        write_whole(out / f"{name}.csv", as_csv(columns, rows).encode())


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 else f"{value:.1e}"
