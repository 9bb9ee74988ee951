"""Names of videos and classes as different programs spell them, and how two spellings are matched.

The same clip is ``HandstandPushups/v_HandstandPushups_g01_c01.avi`` in one list and
``v_HandStandPushups_g01_c01`` in another, and special characters of HMDB51's names are ``_`` in
some copies. A match that ignores such things is never made silently: it is asked for by naming what
may differ (`TOLERANCES`), has to be one to one, and says what it did. Where names differ and
nothing was asked for, `require_same` says what would make them agree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

from compare.datasets.dataset import named

TOLERANCES = ("folder", "extension", "case", "characters")
EXTENSIONS = re.compile(r"\.(avi|mp4|mkv|webm|mov|mpe?g|m4v|flv|wmv|3gp)$", re.IGNORECASE)
N_SHOWN = 3  # pairs of spellings that the account of a tolerant match shows


class ScoreJoinError(ValueError):
    """Tables of scores that do not belong together; the message names what differs."""


def check_tolerances(tolerant: Iterable[str]) -> tuple[str, ...]:
    """Return the tolerances in their fixed order, or raise ValueError for an unknown one."""
    asked = set(tolerant)
    unknown = sorted(asked - set(TOLERANCES))
    if unknown:
        raise ValueError(
            f"tolerant must be among {', '.join(TOLERANCES)}, got {named(unknown)}; name what may "
            "differ between spellings"
        )
    return tuple(each for each in TOLERANCES if each in asked)


def folded(name: str, tolerant: Collection[str]) -> str:
    """Return a name without what is to be ignored.

    Parameters
    ----------
    name
        Of a video or a class.
    tolerant
        ``"folder"`` keeps what follows the last slash, ``"extension"`` takes a video's extension
        off, ``"case"`` folds case, ``"characters"`` writes ``_`` for all but ASCII letters, digits
        and slashes.
    """
    if "folder" in tolerant:
        name = name.replace("\\", "/").rpartition("/")[2]
    if "extension" in tolerant:
        name = EXTENSIONS.sub("", name)
    if "case" in tolerant:
        name = name.casefold()
    if "characters" in tolerant:
        name = re.sub(r"[^0-9A-Za-z/]", "_", name)
    return name


def match(
    given: Sequence[str],
    wanted: Sequence[str],
    *,
    what: str,
    sides: tuple[str, str],
    tolerant: Collection[str] = (),
) -> dict[str, str]:
    """Find each wanted name's spelling among the given ones.

    Parameters
    ----------
    given, wanted
        Unique names, in any order.
    what
        ``"videos"`` or ``"classes"``, for messages.
    sides
        What messages call the two.
    tolerant
        What may differ, see `folded`.

    Returns
    -------
    dict
        Wanted name to given name; one to one.

    Raises
    ------
    ScoreJoinError
        The names differ by more than that, or two of a side become one.
    """
    if not tolerant:
        require_same(given, wanted, what=what, sides=sides)
        return {name: name for name in wanted}
    by_key = [defaultdict(list), defaultdict(list)]  # type: list[defaultdict[str, list[str]]]
    for keys, names, side in zip(by_key, (given, wanted), sides, strict=True):
        for name in names:
            keys[folded(name, tolerant)].append(name)
        merged = [name for same in keys.values() if len(same) > 1 for name in same]
        if merged:
            raise ScoreJoinError(
                f"{what} must differ by more than {' and '.join(tolerant)}, got {named(merged)} in "
                f"{side!r}; ask for fewer tolerances"
            )
    require_same(list(by_key[0]), list(by_key[1]), what=what, sides=sides)
    return {names[0]: by_key[0][key][0] for key, names in by_key[1].items()}


def account(renamed: dict[str, str], tolerant: Sequence[str]) -> dict[str, object]:
    """Return what a match changed, JSON-able: how many names, and the first few pairs."""
    changed = [[given, wanted] for wanted, given in renamed.items() if given != wanted]
    return {"tolerant": list(tolerant), "renamed": len(changed), "first": changed[:N_SHOWN]}


def require_same(
    left: Sequence[str], right: Sequence[str], *, what: str, sides: tuple[str, str]
) -> None:
    """Raise ScoreJoinError unless both sides hold the same names, in whatever order."""
    missing, extra = set(right) - set(left), set(left) - set(right)
    parts = [
        f"{len(names)} only in {side!r} ({named([name for name in all_ if name in names])})"
        for side, names, all_ in ((sides[0], extra, left), (sides[1], missing, right))
        if names
    ]
    if parts:
        lacking = "" if extra and missing else f" and not in {sides[bool(extra)]!r}"
        advice = suggestion(sorted(extra), sorted(missing)) or (
            f"; nothing is joined in part: leave {'them' if lacking else 'both'} out, or score "
            f"the same {what}"
        )
        raise ScoreJoinError(
            f"tables of scores must have the same {what}, got {' and '.join(parts)}{lacking}"
            + advice
        )
    if len(left) != len(right):
        raise ScoreJoinError(
            f"tables of scores must name {what} once, got {len(left)} in {sides[0]!r} and "
            f"{len(right)} in {sides[1]!r}"
        )


def suggestion(left: Sequence[str], right: Sequence[str]) -> str:
    """Say which tolerances would match most of the names that differ; empty where none does."""
    best: tuple[str, ...] = ()
    most = 0
    for size in range(1, len(TOLERANCES) + 1):
        for tolerant in combinations(TOLERANCES, size):
            sides = [{folded(name, tolerant) for name in names} for names in (left, right)]
            if len(sides[0]) < len(left) or len(sides[1]) < len(right):
                continue  # names of one side would become one
            agreeing = len(sides[0] & sides[1])
            if agreeing > most:
                best, most = tolerant, agreeing
    if not most:
        return ""
    where = {folded(name, best): name for name in left}
    pair = next((where[key], name) for name in right if (key := folded(name, best)) in where)
    share = "they" if most == max(len(left), len(right)) else f"{most} of them"
    return (
        f"; {share} agree but for {' and '.join(best)} ({pair[0]!r}, {pair[1]!r}): if that is how "
        f"they are spelt, ask for it (--tolerant {','.join(best)})"
    )
