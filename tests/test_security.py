"""Nothing that is read is run, and nothing that a file names leads out of its folder."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from compare.datasets import Video, load
from compare.datasets.places import locate
from deep.table import read_table
from idt.paths import leads_outside
from idt.video import read_list

PICKLES = {  # files that may have to do with pickles, and why
    "compare/scores/pickled.py": "reads those of others by an allow-list of its own",
    "compare/scores/exporting.py": "writes a form of others",
    "idt/jobs/pool.py": "between this process and its own workers, never from disk",
    "idt/jobs/worker.py": "the other end",
    "idt/jobs/outcome.py": "whether an error can go between them",
}
OUTSIDE = ("../x.avi", "a/../../x.avi", "/etc/passwd", "..\\x.avi", "C:\\x.avi", "a/..")


def called(node: ast.Call) -> str:
    """What is called, as in ``torch.load``."""
    return ast.unparse(node.func)


def option(node: ast.Call, name: str) -> object:
    """Value of a keyword where it is a constant."""
    return next((ast.literal_eval(each.value) for each in node.keywords if each.arg == name), None)


def dangers(source: str) -> list[str]:
    """Calls in a source text that run what they are given, or might."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names] + [getattr(node, "module", None) or ""]
            dangerous = {"pickle", "marshal", "shelve", "dill", "joblib", "yaml", "code"}
            found += [f"import {name}" for name in dangerous.intersection(names)]
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        keywords = [each.arg for each in node.keywords]
        if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"):
            found.append(name)
        if name.endswith(("pickle.load", "pickle.loads", "pickle.Unpickler", "yaml.load")):
            found.append(name)
        if "shell" in keywords and option(node, "shell") is not False:
            found.append(f"{name}(shell=)")
        if name == "torch.load" and option(node, "weights_only") is not True:
            found.append("torch.load without weights_only")
        if name in ("np.load", "numpy.load") and option(node, "allow_pickle") is not False:
            found.append("np.load without allow_pickle=False")
        if name.endswith((".extract", ".extractall", "unpack_archive")) and "archive" in name:
            found.append(name)
        if name == "loadmat":  # native code that trusts the file
            found.append(name)
    return found


def test_nothing_that_is_read_is_run(project: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=project, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.split("\n") if name and not name.startswith("tests/")]
    assert len(names) > 200
    found = {name: dangers((project / name).read_text(encoding="utf-8")) for name in names}
    found = {name: each for name, each in found.items() if each}
    assert {name: each for name, each in found.items() if name not in PICKLES} == {}
    assert set().union(*map(set, found.values())) <= {"import pickle", "pickle.loads"}


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import pickle",
        "from yaml import load",
        "subprocess.run('ls', shell=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "archive.extractall(folder)",
        "os.system('ls')",
        "loadmat(path)",
    ],
)
def test_what_is_looked_for_is_found(source: str) -> None:
    assert dangers(source)
    assert not dangers("torch.load(path, weights_only=True); np.load(p, allow_pickle=False)")


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_that_lead_outside_are_refused_everywhere(path: str, tmp_path: Path) -> None:
    assert leads_outside(path)
    table = tmp_path / "a.csv"
    table.write_text(f"path,label,split\n{path},a,train\nb.avi,b,test\n", encoding="utf-8")
    with pytest.raises(ValueError, match="inside the CSV's folder"):
        load(table)
    with pytest.raises(ValueError, match=r"must lie in the CSV's folder.*--allow-outside"):
        read_table(table, labelled=True)
    with pytest.raises(ValueError, match="paths must stay below"):
        read_list(path.encode(), tmp_path)
    with pytest.raises(ValueError, match="lists must name videos below"):
        locate([Video(Path("x"), path, "a")], tmp_path, allow_missing=True)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text(f"{path} 0\n", encoding="utf-8")
    (lists / "val.txt").write_text("b.avi 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must lie below the videos' folder"):
        load(lists, form="lists", videos=tmp_path)


@pytest.mark.parametrize("path", ["a.avi", "a/b.avi", "a..b/c.avi", "...", "ü n/x.avi"])
def test_paths_that_stay_inside(path: str) -> None:
    assert not leads_outside(path)


def test_paths_outside_are_followed_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("x.avi", "y.avi"):
        (tmp_path / name).write_bytes(b"x")
    table = tmp_path / "set" / "a.csv"
    table.write_text("path,label,split\n../x.avi,a,train\n../y.avi,b,test\n", encoding="utf-8")
    rows = read_table(table, labelled=True, allow_outside=True)
    assert rows == [("../x.avi", "a", ""), ("../y.avi", "b", "")]


def test_kinetics_names_that_climb(tmp_path: Path) -> None:
    header = "label,youtube_id,time_start,time_end,split"
    table = tmp_path / "k.csv"
    rows = ["a,../../x,0,9,train", "b,y,0,9,train", "a,z,0,9,val"]
    table.write_text("\n".join([header, *rows]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"videos below .*got 'a/\.\./\.\./x_000000_000009'"):
        load(table, form="kinetics", videos=tmp_path, allow_missing=True)
    table.write_text("\n".join([header, "a,x,inf,9,train", *rows[1:]]), encoding="utf-8")
    with pytest.raises(ValueError, match="line 2 must give times"):
        load(table, form="kinetics", videos=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "must be a CSV file in UTF-8"),
        (b'path,label\n"a"b,1\n', "must be a CSV file in UTF-8"),
        (b"path,label\n" + b"x" * 200_000 + b",1\n", "field larger than field limit"),
        (b"path\nx", "columns path, label, got none named label"),
        (b"path,label\n", "at least one row"),
    ],
)
def test_tables_that_are_none(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(tmp_path / "a.csv", labelled=True)
    assert "a.csv" in str(caught.value)
