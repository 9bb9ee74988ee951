"""Many videos into a folder of trajectory files, each whole and only where it does not fit yet."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2

from idt.extract.extraction import Extraction
from idt.extract.kernels import load_kernels
from idt.extract.options import ExtractOptions
from idt.jobs.folder import Made, Work
from idt.trajectories import provenance
from idt.trajectories.hdf5 import read_origin
from idt.trajectories.writer import DTYPES

SUFFIX = ".h5"


@dataclass(frozen=True)
class IntoFolder:
    """Extracts one video after the other, in whichever process it is called.

    Attributes
    ----------
    options
        Settings.
    start, stop, max_side, threads
        As in `Extraction`.
    dtype
        ``"float16"`` or ``"float32"``, of the descriptors.
    scratch
        Folder to write in; results are moved from there to their places.

    Raises
    ------
    ValueError
        A setting that cannot be.
    """

    options: ExtractOptions = field(default_factory=ExtractOptions)
    start: int = 0
    stop: int | None = None
    max_side: int | None = None
    threads: int = 1
    dtype: str = "float16"
    scratch: Path = Path()

    def __post_init__(self) -> None:
        """Refuse what cannot work before any work."""
        self._extraction(Path())
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be {' or '.join(DTYPES)}, got {self.dtype!r}; choose one")
        if self.threads < 1:
            raise ValueError(
                f"threads must be at least 1, got {self.threads}; give a number of threads"
            )

    @property
    def made(self) -> dict[str, Any]:
        """All that decides the results besides the videos."""
        settings = asdict(self.options) | {
            "start": self.start,
            "stop": self.stop,
            "max_side": self.max_side,
            "dtype": self.dtype,
        }
        return {"kind": "trajectories", "settings": settings, "versions": provenance()}

    def prepare(self) -> None:
        """Load the kernels, which is no video's time."""
        cv2.setNumThreads(1)  # the threads are ours, and share out whole frames
        load_kernels(self.options)

    def works(self, videos: Mapping[str, Path], folder: Path) -> list[Work]:
        """One for each video, by name."""
        return [
            Work(name, path.absolute(), folder.absolute() / f"{name}{SUFFIX}")
            for name, path in videos.items()
        ]

    def __call__(self, work: Work) -> Made:
        """Extract a video's trajectories, unless they are there and fit.

        Raises
        ------
        VideoError
            The video cannot be read.
        OSError
            The result cannot be written.
        """
        extraction = self._extraction(work.source)
        reason = ""
        if work.result.is_file():
            reason = self._misfit(work.result, extraction)
            if not reason:
                return Made(kept=True)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            whole = Path(folder) / f"table{SUFFIX}"
            extraction.save(whole, dtype=self.dtype)
            work.result.parent.mkdir(parents=True, exist_ok=True)
            whole.replace(work.result)
        return Made(reason=reason)

    def _extraction(self, video: Path) -> Extraction:
        return Extraction(
            video,
            options=self.options,
            start=self.start,
            stop=self.stop,
            max_side=self.max_side,
            threads=self.threads,
        )

    def _misfit(self, path: Path, extraction: Extraction) -> str:
        """Why a file is not what an extraction would write; empty where it is."""
        try:
            info, dtypes = read_origin(path)
        except ValueError as error:
            return " ".join(str(error).split())
        wanted = json.loads(json.dumps(extraction.info()))
        for what in ("settings", "versions"):
            held = info.get(what, {})
            for name in sorted({*held, *wanted[what]}):
                now, then = (json.dumps(each.get(name)) for each in (wanted[what], held))
                if now != then:
                    return f"it was made with {name} {then}, not {now}"
        held = info.get("video", {})
        for name, change in (("sha256", "the video's content"), ("name", "the video's name")):
            if held.get(name) != wanted["video"][name]:
                return f"{change} has changed"
        if dtypes - {self.dtype}:
            return f"it was made with dtype {', '.join(sorted(dtypes))}, not {self.dtype}"
        if any(held.get(name) != wanted["video"][name] for name in ("start", "stop")):
            return "it was made of another range of frames"
        return ""
