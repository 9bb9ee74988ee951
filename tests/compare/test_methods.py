from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

from compare import cli
from compare.benchmark import methods
from compare.benchmark.methods import Method


def test_methods_are_read_with_options() -> None:
    read = methods.parse_methods(
        "idt-fv:n_components=64:power=true:kind=plain:rate=1e-3, two-stream"
    )
    options = {"n_components": 64, "power": True, "kind": "plain", "rate": 0.001}
    assert read == [Method("idt-fv", options), Method("two-stream")]
    assert read[0].label == "idt-fv:n_components=64:power=true:kind=plain:rate=0.001"
    assert read[1].label == "two-stream"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name one or more"),
        (" , ", "must name one or more"),
        ("a,b,a", "given once, got twice: a"),
        ("a:C", "NAME:OPTION=VALUE, got 'C'"),
        ("a:C=", "NAME:OPTION=VALUE"),
        ("a:C=1:C=2", "'C' must be given once"),
        ("a:2=1", "NAME:OPTION=VALUE"),
        ("a:seed=1", "'seed' must be set for the whole run"),
    ],
)
def test_wrong_methods_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        methods.parse_methods(text)


def test_unknown_names_and_options_are_refused_with_what_there_is(
    fakes: Mapping[str, Callable[..., Any]],
) -> None:
    with pytest.raises(
        ValueError, match="one of conv-fusion, flow-hist, idt-fv, two-stream, got 'x'"
    ):
        methods.check([Method("idt-fv"), Method("x")], fakes)
    with pytest.raises(ValueError, match="among skill, scale, salt, got 'C'"):
        methods.check([Method("idt-fv", {"C": 1})], fakes)
    methods.check([Method("idt-fv", {"skill": 1})], fakes)
    methods.check([Method("any", {"C": 1})], {"any": lambda **options: None})  # type: ignore[dict-item]


def test_deep_is_only_imported_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in zip(methods.TABLES, (["idt-fv"], ["two-stream"]), strict=True):
        table = ModuleType(module)
        table.RECOGNISERS = dict.fromkeys(names, object)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module, table)
    assert list(methods.find(["idt-fv"])) == ["idt-fv"]
    assert list(methods.find(["two-stream"])) == ["idt-fv", "two-stream"]
    assert list(methods.find(["lstm"])) == ["idt-fv", "two-stream"]


def test_yardsticks_run_where_they_can(
    fakes: Mapping[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    able, unable = methods.yardsticks([Method("idt-fv")], fakes)
    assert able == [Method("flow-hist")]
    assert unable == {"frame-features": "there is no recogniser of that name"}
    assert methods.yardsticks([Method("flow-hist")], fakes)[0] == []
    monkeypatch.setattr(methods, "find_spec", lambda name: None)
    everything = {**fakes, "frame-features": fakes["idt-fv"]}
    able, unable = methods.yardsticks([Method("idt-fv")], everything)
    assert able == [Method("flow-hist")]
    assert "trajfuse[pretrained]" in unable["frame-features"]


def test_the_methods_of_the_demo_exist_and_take_their_options() -> None:
    asked = methods.parse_methods(cli.demo.DEMO_METHODS)
    names = {method.name for method in asked}
    methods.check(asked, methods.find(names))
    assert names == {"idt-fv", "two-stream"}


def test_options_of_the_classical_recognisers_are_read_from_text() -> None:
    (method,) = methods.parse_methods(
        "dt-fv:descriptors=mbhx/mbhy:grids=1x1x1/t2:frame_steps=1/2:mirror=true:n_components=64"
    )
    factories = methods.find([method.name])
    methods.check([method], factories)
    settings = factories[method.name](**method.options).settings()
    assert settings["descriptors"] == ["mbhx", "mbhy"]
    assert settings["grids"] == ["1x1x1", "t2"]
    assert [each["frame_step"] for each in settings["extraction"]] == [1, 2]
    assert settings["extraction"][0]["stabilise"] == "none"
    assert settings["extraction"][0]["normalise"] == "l2"
    assert settings["mirror"] is True
    with pytest.raises(ValueError, match="options of 'dt-fv' must be among n_samples, C, grids"):
        methods.check([Method("dt-fv", {"grid": 2})], factories)
