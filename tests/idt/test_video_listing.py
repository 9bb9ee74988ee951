"""Which videos folders, lists and names mean."""

import os
from pathlib import Path

import pytest

from idt.video import find_videos, is_folder_of_videos, read_list


@pytest.fixture
def tree(tmp_path):
    """A folder of videos with what else lies about."""
    for name in ("b/2.avi", "b/10.AVI", "a/x.mp4", "notes.txt", ".hidden.avi", "a/.cache/y.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    frames = tmp_path / "c" / "frames"
    frames.mkdir(parents=True)
    (frames / "1.png").write_text("")
    (tmp_path / "d").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nowhere.avi").symlink_to(tmp_path / "gone.avi")
    return tmp_path


def test_folders_are_searched_at_any_depth(tree):
    found = find_videos([tree])
    assert list(found) == ["a/x.mp4", "b/10.AVI", "b/2.avi", "c/frames", "nowhere.avi"]
    assert found["b/2.avi"] == tree / "b" / "2.avi"
    assert list(find_videos([tree / "d"])) == ["10.AVI", "2.avi"]


def test_what_is_named_is_taken_whatever_it_is(tree, monkeypatch):
    monkeypatch.chdir(tree / "c")
    given = [tree / "notes.txt", tree / "gone.mov", Path("frames"), Path("../b/2.avi")]
    assert list(find_videos(given)) == ["2.avi", "frames", "gone.mov", "notes.txt"]
    monkeypatch.chdir(tree / "c" / "frames")
    assert list(find_videos([Path()])) == ["frames"]
    assert list(find_videos([Path("../frames/../../c/frames/..")])) == ["frames"]


def test_a_folder_of_images_is_a_video(tree):
    assert not is_folder_of_videos(tree / "c" / "frames")
    assert is_folder_of_videos(tree / "c")
    assert not is_folder_of_videos(tree / "notes.txt")


def test_one_name_is_one_video(tree):
    same = [tree / "b" / "2.avi", tree / "b" / "2.avi", tree / "d" / "2.avi"]
    assert list(find_videos(same)) == ["2.avi"]
    (tree / "a" / "2.avi").write_text("another")
    with pytest.raises(ValueError, match=r"names of their own, got .*b/2.avi' and .*a/2.avi'"):
        find_videos([tree / "b", tree / "a" / "2.avi"])


def test_no_videos_are_refused(tmp_path):
    with pytest.raises(ValueError, match="videos must be at least one, got none in"):
        find_videos([tmp_path])
    with pytest.raises(ValueError, match="a list must name at least one video"):
        read_list(b"\n\n", tmp_path)


def test_lists_hold_a_path_a_line_or_end_each_in_nul(tree):
    found = read_list(b"b/2.avi\n\n./a//x.mp4\r\n" + bytes(tree / "b" / "10.AVI"), tree)
    assert list(found) == ["a/x.mp4", "b/10.AVI", "b/2.avi"]
    assert found["a/x.mp4"].read_text() == "a/x.mp4"
    odd = ["new\nline.avi", " space .avi", os.fsdecode(b"\xff.avi"), "-o.avi", "'\".avi"]
    assert set(read_list(b"".join(os.fsencode(name) + b"\0" for name in odd), tree)) == set(odd)


@pytest.mark.parametrize("entry", ["../out.avi", "a/../../out.avi", "/elsewhere/out.avi", ".."])
def test_a_list_leads_out_of_its_folder_only_when_asked(entry, tree):
    text = os.fsencode(entry)
    with pytest.raises(ValueError, match="must stay below"):
        read_list(text, tree)
    found = read_list(text, tree, allow_outside=True)
    assert list(found) == ["out.avi" if entry != ".." else tree.parent.name]


def test_a_hundred_thousand_entries_are_listed_without_looking_into_them(tmp_path, monkeypatch):
    class Entry:
        def __init__(self, name):
            self.name, self.path = name, str(tmp_path / name)

        def is_dir(self):
            return False

    class Entries(list):
        __enter__ = list.__iter__

        def __exit__(self, *error):
            pass

    names = [f"{index:06}.avi" for index in range(100_000)]
    monkeypatch.setattr(os, "scandir", lambda path: Entries(map(Entry, reversed(names))))
    assert list(find_videos([tmp_path])) == names  # one call a folder, and none an entry
