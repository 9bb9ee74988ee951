"""What the README shows is run as it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def _python_of(heading: str) -> str:
    """The Python block of a section."""
    section = re.split(r"^## ", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    [found] = [text for text in section if text.startswith(f"{heading}\n")]
    [block] = re.findall(r"^```python\n(.*?)^```$", found, flags=re.MULTILINE | re.DOTALL)
    return block


def test_the_python_session_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(_python_of("From Python"), str(README), "exec"), names)
    assert names["table"].descriptors["mbhx"].shape == (len(names["table"]), 96)
    assert names["table"].column("mean_x").min() > 0
    told = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in told] == ["motion", "form", "average"]
    assert all(0 < float(line[1]) <= 1 for line in told)
    assert "by group" in told[0][2]
