"""SURF: known blobs, invariances, the reference program's keypoints."""

import numpy as np
import pytest

from idt import lanes
from idt.pyramid import to_grey
from idt.surf import detect_and_describe, fast_atan2
from idt.surf.hessian import _fill_layer, _split_phases, integrate_image
from idt.video import frames


def _blob(n_rows=96, n_columns=120, centre=(60.0, 40.0), sigma=5.0):
    y, x = np.mgrid[:n_rows, :n_columns]
    square = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    return (40 + 180 * np.exp(-square / (2 * sigma**2))).round().astype(np.uint8)


def test_a_blob_is_found_at_its_centre_and_size():
    keypoints = detect_and_describe(_blob())
    # The filter of side s has a Gaussian of 1.2 s / 9 pixels; a blob's extremum lies at its sigma.
    assert len(keypoints) >= 1
    np.testing.assert_allclose(keypoints.points[0], [60, 40], atol=0.6)
    assert keypoints.sizes[0] * 1.2 / 9 == pytest.approx(5, rel=0.3)
    np.testing.assert_allclose(np.linalg.norm(keypoints.descriptors, axis=1), 1, atol=1e-5)


def test_a_flat_frame_has_no_keypoints():
    keypoints = detect_and_describe(np.full((64, 64), 90, np.uint8))
    assert len(keypoints) == 0
    assert keypoints.descriptors.shape == (0, 128)


def test_frames_smaller_than_the_filters_have_no_keypoints():
    assert len(detect_and_describe(np.full((8, 9), 90, np.uint8))) == 0


def test_a_shift_shifts_points_and_keeps_descriptors():
    image = np.random.default_rng(1).integers(0, 256, (20, 20)).astype(np.uint8)
    image = np.kron(image, np.ones((8, 8), np.uint8))
    first = detect_and_describe(image[:-8, :-8].copy())
    second = detect_and_describe(image[8:, 8:].copy())
    distance = np.abs((first.points - 8)[:, None] - second.points[None]).max(axis=2)
    inner = ((first.points > 50) & (first.points < 110)).all(axis=1) & (first.sizes < 20)
    assert inner.sum() > 10
    assert (distance[inner].min(axis=1) < 1e-3).all()
    nearest = distance.argmin(axis=1)
    cosine = (first.descriptors * second.descriptors[nearest]).sum(axis=1)
    assert cosine[inner].min() > 0.999


def _box_filter(image, boxes, size, step):
    """Weighted means of boxes (x0, y0, x1, y1, weight), on a 9 x 9 filter, at every position."""
    sums = np.zeros(np.add(image.shape, 1), np.int32)
    sums[1:, 1:] = image.cumsum(axis=0).cumsum(axis=1)
    rows, columns = np.ogrid[: image.shape[0] - size + 1 : step, : image.shape[1] - size + 1 : step]
    total = np.float32(0)
    for box in boxes:
        x0, y0, x1, y1 = np.rint(np.float32(box[:4]) * np.float32(size / 9)).astype(int)
        weight = np.float32(box[4]) / np.float32((x1 - x0) * (y1 - y0))
        means = sums[rows + y1, columns + x1] - sums[rows + y1, columns + x0]
        means = means - sums[rows + y0, columns + x1] + sums[rows + y0, columns + x0]
        total = total + means.astype(np.float32) * weight
    return total


@pytest.mark.parametrize("shape", [(61, 83), (60, 84)])
@pytest.mark.parametrize("octave", [0, 1])
def test_determinants_are_those_of_plain_box_sums(shape, octave):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    integral = lanes.empty(shape[0] + 1, shape[1] + 1, kind=np.int32)
    integrate_image(image, integral)
    step, phases = 1, integral.reshape(-1)
    for _ in range(octave):
        phases, step = _split_phases(phases, shape, step), 2 * step
    determinants = lanes.empty(4, shape[0] // step + 1, shape[1] // step + 1)
    for layer in range(4):
        size = (9 + 6 * layer) * step
        _fill_layer(phases, shape, size, step, layer, determinants)
        xx = _box_filter(image, [(0, 2, 3, 7, 1), (3, 2, 6, 7, -2), (6, 2, 9, 7, 1)], size, step)
        yy = _box_filter(image, [(2, 0, 7, 3, 1), (2, 3, 7, 6, -2), (2, 6, 7, 9, 1)], size, step)
        quadrants = [(1, 1, 4, 4, 1), (5, 1, 8, 4, -1), (1, 5, 4, 8, -1), (5, 5, 8, 8, 1)]
        xy = _box_filter(image, quadrants, size, step)
        expected = xx * yy - np.float32(0.81) * xy * xy
        margin = size // 2 // step
        found = determinants[layer, margin:, margin:][: len(expected), : expected.shape[1]]
        np.testing.assert_array_equal(found, expected)


def test_a_mask_keeps_points_out():
    allowed = np.ones((96, 120), bool)
    allowed[20:60, 40:80] = False
    points = detect_and_describe(_blob(), allowed=allowed).points.round().astype(int)
    assert all(allowed[y, x] for x, y in points)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="grey must be a uint8 array"):
        detect_and_describe(np.zeros((9, 9)))
    with pytest.raises(ValueError, match="threshold must be positive"):
        detect_and_describe(_blob(), threshold=0)


def test_angles_by_polynomial():
    angles = np.linspace(0, 359, 360)
    radians = np.deg2rad(angles)
    got = [fast_atan2(np.float32(np.sin(a)), np.float32(np.cos(a))) for a in radians]
    error = np.abs((np.array(got) - angles + 180) % 360 - 180)
    assert error.max() < 0.02


@pytest.mark.parametrize("clip", ["kth_boxing_d1", "hmdb_cartwheel", "ucf_icedancing_g01_c01"])
def test_keypoints_and_descriptors_are_the_reference_programs(shared, clip):
    golden = np.load(shared / "golden" / f"{clip}.intermediates.npz")
    for t, frame in enumerate(frames(shared / "golden" / "clips" / f"{clip}.avi", stop=4)):
        keypoints = detect_and_describe(to_grey(frame))
        expected = golden[f"surfkp_f{t}_k0"]
        distance = np.abs(expected[:, None, :2] - keypoints.points[None]).max(axis=2)
        found = distance.min(axis=1) < 0.1
        assert found.mean() >= 0.97
        nearest = distance.argmin(axis=1)[found]
        descriptors = golden[f"surfdesc_f{t}_k0"][found]
        assert np.median((descriptors * keypoints.descriptors[nearest]).sum(axis=1)) >= 0.99
