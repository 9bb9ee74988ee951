"""Human boxes: files, masks, and a detector on a real clip."""

import cv2
import numpy as np
import pytest

from idt.camera import allowed_mask, detect_people, read_boxes
from idt.video import frames


def _file(tmp_path, text):
    path = tmp_path / "boxes.txt"
    path.write_text(text)
    return path


def test_boxes_are_read_frame_by_frame(tmp_path):
    path = _file(tmp_path, "1 10 20 30.5 40 0.9\n2\n3 1 2 3 4 -1.5  5\t6 7 8 2e-1\r\n\n")
    boxes = read_boxes(path, n_frames=3)
    assert len(boxes) == 3
    assert [frame.dtype for frame in boxes.frames] == [np.float32] * 3
    np.testing.assert_array_equal(boxes[0], np.float32([[10, 20, 30.5, 40, 0.9]]))
    assert boxes[1].shape == (0, 5)
    np.testing.assert_array_equal(boxes[2], np.float32([[1, 2, 3, 4, -1.5], [5, 6, 7, 8, 0.2]]))


def test_frames_may_be_numbered_from_0(tmp_path):
    boxes = read_boxes(_file(tmp_path, "0 1 1 2 2 1\n1"))
    assert [len(boxes[frame]) for frame in (0, 1)] == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2 1 2 3 4\n", r"line 2 \(frame 1\): the number of fields .* multiple of 5, got 4"),
        ("1 a 2 3 4 5\n", r"line 1 \(frame 0\): a field must be a finite number, got 'a'"),
        ("1 1 2 3 nan 5\n", "must be a finite number, got 'nan'"),
        ("1 1 2 3 1e99 5\n", "must be a finite number, got '1e99'"),
        ("1 9 2 3 4 5\n", r"line 1 \(frame 0\): a box must have x1 <= x2 .* got x 9 to 3"),
        ("1 1 9 3 4 5\n", "y1 <= y2, got x 1 to 3, y 9 to 4"),
        ("1\n3\n", r"line 2 \(frame 1\): the frame's number must be 2, got '3'"),
        ("0\n0\n", "the frame's number must be 1, got '0'"),
        ("2\n3\n", r"line 1 \(frame 0\): the frame's number must be 0 or 1, got '2'"),
        ("1\n\n3\n", r"line 2 \(frame 1\): the frame's number must be 2, got ''"),
        ("", "must have one line a frame, got none"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    path = _file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_boxes(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        read_boxes(tmp_path / "nowhere.txt")


def test_the_number_of_lines_must_be_the_videos(tmp_path):
    path = _file(tmp_path, "1\n2\n3\n")
    boxes = read_boxes(path)
    boxes.check_length(3)
    with pytest.raises(ValueError, match=r"got the last at line 3 \(frame 2\) and a frame 4"):
        boxes.check_length(5)
    with pytest.raises(ValueError, match=r"got the last at line 3 \(frame 2\) and a frame 3"):
        boxes[3]
    with pytest.raises(ValueError, match=r"got line 3 \(frame 2\) where the video ends after"):
        read_boxes(path, n_frames=2)
    with pytest.raises(ValueError, match="frame must be at least 0, got -1"):
        boxes[-1]


def test_a_box_holds_both_its_corners():
    allowed = allowed_mask(np.array([[1, 1, 2.4, 3, 0.5]], np.float32), 5, 4)
    expected = np.ones((5, 4), bool)
    expected[1:4, 1:3] = False
    np.testing.assert_array_equal(allowed, expected)


def test_boxes_are_cut_at_the_frame():
    boxes = np.array([[-9, -9, 0, 0], [3, 3, 90, 90], [-5, 1, -2, 2], [9, 0, 12, 4]], np.float32)
    allowed = allowed_mask(boxes, 5, 4)
    expected = np.ones((5, 4), bool)
    expected[0, 0] = False
    expected[3:, 3] = False
    np.testing.assert_array_equal(allowed, expected)
    assert allowed_mask(np.zeros((0, 5), np.float32), 2, 3).all()
    with pytest.raises(ValueError, match=r"shape \(n, 4\) or \(n, 5\), got \(4,\)"):
        allowed_mask(np.zeros(4), 5, 4)


@pytest.fixture
def two_people(shared):
    """A frame with two men: one on the left, about (95, 110), one on the right, (340, 110)."""
    path = shared / "data" / "ut_interaction" / "hug" / "set1_27_5_1.avi"
    return next(frames(path, start=30, stop=31))


def test_people_are_found(two_people):
    boxes = detect_people(two_people)
    assert boxes.dtype == np.float32
    assert (np.diff(boxes[:, 4]) <= 0).all()
    allowed = allowed_mask(boxes, *two_people.shape[:2])
    assert not allowed[110, 95]
    assert not allowed[110, 340]
    assert allowed.mean() > 0.4
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:4] < (412, 268)).all()
    np.testing.assert_array_equal(detect_people(two_people), boxes)


def test_frames_smaller_than_a_window_are_enlarged(two_people):
    small = cv2.resize(two_people[:, 250:410], (48, 80), interpolation=cv2.INTER_AREA)
    boxes = detect_people(small)
    # The man on the right stands about (90, 110) in the cut of 160 x 268 pixels.
    assert not allowed_mask(boxes, 80, 48)[33, 27]
    assert (boxes[:, 2:4] < (48, 80)).all()


def test_an_empty_scene_has_no_people():
    boxes = detect_people(np.full((10, 10, 3), 90, np.uint8))
    assert boxes.shape == (0, 5)
    with pytest.raises(ValueError, match="frame must be a uint8 array of shape"):
        detect_people(np.zeros((10, 10), np.uint8))
