"""Refusing options of a network: of another kind, not among the valid ones, too small."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "null",
}


def check_choices(**given: tuple[str, Sequence[str]]) -> None:
    """Refuse a value that is not among the valid ones: ``name=(value, valid)``."""
    for name, (value, valid) in given.items():
        if value not in valid:
            raise ValueError(
                f"{name} must be one of {', '.join(valid)}, got {value!r}; choose one of these"
            )


def of_kind(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Give options back in the kinds that a function's type hints ask for.

    Parameters
    ----------
    function
        Has a parameter of every option's name.
    given
        The options, as JSON has them: lists stand for tuples, and a number where a text is wanted
        for its digits.

    Raises
    ------
    ValueError
        A value is of another kind, such as a text for a number.
    """
    hints, parameters = get_type_hints(function), inspect.signature(function).parameters
    found: dict[str, Any] = {}
    for name, value in given.items():
        hint = hints.get(name, Any)
        value = tuple(value) if isinstance(value, list) else value
        if str in (hint, *get_args(hint)) and type(value) in (int, float):
            value = str(value)
        if not _fits(value, hint):
            usual = parameters[name].default
            advice = "" if usual is inspect.Parameter.empty else f"; such as {json.dumps(usual)}"
            raise ValueError(f"{name} must be {_described(hint)}, got {value!r}{advice}")
        found[name] = value
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a kind; of kinds not known here any is."""
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, each) for each in inner)
    if get_origin(hint) in (tuple, Sequence):
        if not isinstance(value, tuple):
            return False
        kinds = inner if get_origin(hint) is tuple else inner * len(value)
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return hint not in KINDS or isinstance(value, hint)


def _described(hint: Any) -> str:
    """Say a kind in words."""
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return " or ".join(_described(each) for each in inner)
    if get_origin(hint) is tuple:
        return f"a list of {len(inner)}, each {_described(inner[0])}"
    if get_origin(hint) is Sequence:
        return f"a list, each {_described(inner[0])}"
    return KINDS.get(hint, str(hint))
