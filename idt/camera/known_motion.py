"""Camera motion that is known beforehand, from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from idt.arrays import BrokenArrayError, read_npz


def read_homographies(path: str | Path) -> dict[int, np.ndarray]:
    """Read known camera motion.

    Parameters
    ----------
    path
        An ``.npz`` file with the arrays ``frame``, whole numbers (n,) from 1, and ``H``,
        (n, 3, 3), each mapping the previous frame's pixels to that frame's.

    Returns
    -------
    dict
        Frame index to float64 (3, 3), as `idt.extract.Extraction` takes it.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        An array is missing or of another shape, a frame comes twice, or a matrix is not finite or
        cannot be inverted.
    """
    path = Path(path)
    arrays = _read_arrays(path, ("frame", "H"))
    frames, matrices = arrays["frame"], arrays["H"]
    where = f"of {str(path)!r}"
    if frames.ndim != 1 or frames.dtype.kind not in "iu":
        raise ValueError(
            f"array frame {where} must be whole numbers of shape (n,), got {frames.dtype} "
            f"{frames.shape}; give the index of each H's frame"
        )
    if matrices.shape != (len(frames), 3, 3) or matrices.dtype.kind not in "fiu":
        raise ValueError(
            f"array H {where} must be numbers of shape {(len(frames), 3, 3)}, as there are "
            f"{len(frames)} frames, got {matrices.dtype} {matrices.shape}; give one matrix a frame"
        )
    indices = frames.tolist()
    if min(indices, default=1) < 1 or len(set(indices)) < len(indices):
        raise ValueError(
            f"array frame {where} must hold indices from 1, each once, got {min(indices)} to "
            f"{max(indices)} in {len(indices)} entries; the first frame has no motion into it"
        )
    matrices = matrices.astype(np.float64)
    for index, matrix in zip(indices, matrices, strict=True):
        if not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
            raise ValueError(
                f"array H {where} must hold finite matrices that can be inverted, got "
                f"{matrix.ravel().tolist()} for frame {index}; leave out a frame whose motion is "
                "not known"
            )
    return dict(zip(indices, matrices, strict=True))


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` by name."""
    if not path.is_file():
        raise FileNotFoundError(f"no homographies at {str(path)!r}; check the name")
    try:
        arrays = read_npz(path)
    except (OSError, BrokenArrayError) as error:
        raise ValueError(
            f"{str(path)!r} must be an .npz file with arrays {' and '.join(names)}, got one that "
            f"cannot be read ({error}); write it with numpy.savez"
        ) from error
    for name in names:
        if name not in arrays:
            raise ValueError(
                f"{str(path)!r} must hold arrays {' and '.join(names)}, got "
                f"{', '.join(arrays) or 'none'}; add {name}"
            )
    return arrays
