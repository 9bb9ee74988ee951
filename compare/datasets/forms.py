"""The forms that a data set may have on disk, and which options belong to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compare.datasets.acted import kth, ut_interaction
from compare.datasets.class_folders import from_folder
from compare.datasets.csv_file import from_csv
from compare.datasets.dataset import Dataset
from compare.datasets.folds import DEFAULT_FOLDS
from compare.datasets.list_files import from_lists, kinetics, list_pairs
from compare.datasets.official import hmdb51, ucf101

# Names of a list folder's file of classes, the first that is there.
CLASS_FILES = ("classInd.txt", "classes.txt", "labels.txt", "label_map.txt")


def load(
    data: str | Path,
    *,
    form: str | None = None,
    videos: str | Path | None = None,
    folds: str | int | None = None,
    group_pattern: str | None = None,
    seed: int = 0,
    allow_outside: bool = False,
    allow_missing: bool = False,
    must_exist: bool = True,
) -> Dataset:
    """Load a data set in any of the forms.

    Parameters
    ----------
    data
        A CSV file, or a folder: of class folders, of a set's list files, of Kinetics' tables, or of
        the clips of KTH or UT-Interaction.
    form
        One of `FORMS`. None: ``csv`` for a file; for a folder ``ucf101`` or ``hmdb51`` where it
        holds those sets' split files, else ``folders``.
    videos
        Of ucf101, hmdb51, lists and kinetics: the folder with the clips.
    folds
        Number of folds by group (csv, folders), the column that names each row's fold (csv), the
        splits, as in ``1`` or ``1+3`` (ucf101, hmdb51), ``official`` or ``people`` (kth), the sets
        (ut-interaction).
    group_pattern
        Of folders and lists: regular expression whose first group is the video's group.
    seed
        Of folds that are drawn.
    allow_outside
        Of csv: accept paths that lead out of the CSV's folder.
    allow_missing
        Leave out clips that a published set lists and the folder lacks.
    must_exist
        False: only ids, classes, groups and splits are wanted; clips need not be there.
    """
    data = Path(data)
    form = _form_of(data) if form is None else form
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    given: dict[str, Any] = {
        "videos": videos,
        "folds": folds,
        "group_pattern": group_pattern,
        "allow_outside": allow_outside or None,
        "allow_missing": allow_missing or None,
    }
    reader, takes = FORMS[form]
    unused = [name for name, value in given.items() if value is not None and name not in takes]
    if unused:
        raise ValueError(
            f"{unused[0]} must be left out for data of form {form!r}, got {given[unused[0]]!r}"
            + ("; write the groups into a column 'group'" if unused[0] == "group_pattern" else "")
        )
    if must_exist and "videos" in takes and videos is None:
        raise ValueError(f"videos must be given for data of form {form!r}: the folder of its clips")
    try:
        return reader(data, given | {"seed": seed, "must_exist": must_exist})
    except ValueError as error:
        if data.name not in str(error):  # many a rule of data sets knows no file
            error.add_note(f"(data set {str(data)!r})")
        raise


def _form_of(data: Path) -> str:
    if not data.is_dir():
        return "csv"
    if (data / "classInd.txt").is_file() and (data / "trainlist01.txt").is_file():
        return "ucf101"
    if next(data.glob("*_test_split1.txt"), None) is not None:
        return "hmdb51"
    return "folders"


def _csv(data: Path, given: Mapping[str, Any]) -> Dataset:
    return from_csv(
        data,
        folds=given["folds"],
        seed=given["seed"],
        allow_outside=bool(given["allow_outside"]),
        must_exist=given["must_exist"],
    )


def _folders(data: Path, given: Mapping[str, Any]) -> Dataset:
    folds = given["folds"]
    if isinstance(folds, str) and not folds.isdigit():
        raise ValueError(
            f"folds must be a number for a folder of class folders, got {folds!r}; "
            "a folder has no columns"
        )
    n_folds = DEFAULT_FOLDS if folds is None else int(folds)
    return from_folder(
        data, group_pattern=given["group_pattern"], folds=n_folds, seed=given["seed"]
    )


def _official(read: Callable[..., Dataset]) -> Callable[[Path, Mapping[str, Any]], Dataset]:
    def reader(data: Path, given: Mapping[str, Any]) -> Dataset:
        numbers = {} if given["folds"] is None else {"splits": _numbers(given["folds"])}
        missing = bool(given["allow_missing"])
        return read(data, videos=given["videos"], allow_missing=missing, **numbers)

    return reader


def _kth(data: Path, given: Mapping[str, Any]) -> Dataset:
    return kth(data, folds=given["folds"] or "official", allow_missing=bool(given["allow_missing"]))


def _ut_interaction(data: Path, given: Mapping[str, Any]) -> Dataset:
    sets = {} if given["folds"] is None else {"sets": _numbers(given["folds"])}
    return ut_interaction(data, allow_missing=bool(given["allow_missing"]), **sets)


def _lists(data: Path, given: Mapping[str, Any]) -> Dataset:
    classes = [path for name in CLASS_FILES if (path := data / name).is_file()]
    return from_lists(
        list_pairs(data),
        name=data.resolve().name,
        videos=given["videos"],
        classes=classes[0] if classes else None,
        group_pattern=given["group_pattern"],
        allow_missing=bool(given["allow_missing"]),
    )


def _kinetics(data: Path, given: Mapping[str, Any]) -> Dataset:
    tables = [data] if data.is_file() else sorted(data.glob("*.csv"))
    return kinetics(tables, videos=given["videos"], allow_missing=bool(given["allow_missing"]))


def _numbers(folds: str | int) -> tuple[int, ...]:
    parts = str(folds).split("+")
    if not all(part.isdigit() for part in parts):
        raise ValueError(f"folds must be numbers joined by '+', as in 1 or 1+3, got {folds!r}")
    return tuple(int(part) for part in parts)


_LISTED = ("videos", "folds", "allow_missing")
# What reads a form, and which options it takes.
FORMS: dict[str, tuple[Callable[[Path, Mapping[str, Any]], Dataset], tuple[str, ...]]] = {
    "csv": (_csv, ("folds", "allow_outside")),
    "folders": (_folders, ("folds", "group_pattern")),
    "ucf101": (_official(ucf101), _LISTED),
    "hmdb51": (_official(hmdb51), _LISTED),
    "kth": (_kth, ("folds", "allow_missing")),
    "ut-interaction": (_ut_interaction, ("folds", "allow_missing")),
    "lists": (_lists, ("videos", "group_pattern", "allow_missing")),
    "kinetics": (_kinetics, ("videos", "allow_missing")),
}
