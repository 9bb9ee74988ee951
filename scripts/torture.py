"""Break what is read, kill what runs, and see that nothing else breaks.

    python scripts/torture.py --short [--parts odd,mutate,kill] [--seed N] [--data FOLDER]

odd
    Every file of a folder of odd videos through extraction, flow, prediction and the doctor.
mutate
    Small whole files of every form that is read, broken in 2,000 ways: clips, tables, codebooks,
    encodings, weights, score files, split files, spec files, runs.
kill
    50 kills, at random moments, of a random process of a run that extracts and encodes 40 clips
    with two workers, see `kills.py`: what comes out at the end has the bytes of an undisturbed
    run's, and no video was worked on more often than it was killed, plus once.

Each reader may take 10 s of the processor and 1 GiB, and has to end with data or with one of the
project's errors, which name the file and the reason. What is read runs in processes of its own. A
decoder that crashes in native code costs its process and is counted; anything else that does is a
failure.
All is drawn from the seed. The last line sums up; the exit code is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from kills import torment
from reading import Outcome, Task, read_all
from specimens import DECODERS, READERS, Specimen, write_all, write_company

BESIDE = Path(__file__).resolve().parents[2] / "shared"
SHARED = Path(os.environ.get("TRAJFUSE_SHARED", BESIDE))
STAGES = {"extract": "tracks", "flow": "flow", "predict": "predict", "doctor": "doctor"}
N_MUTANTS = 2_000
N_KILLS = 50
N_PROCESSES = 2


def odd_tasks(data: Path, n: int | None = None, seed: int = 0) -> list[Task]:
    """Every file of a folder, or so many drawn from the seed, in every stage."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    if n is not None and n < len(files):
        files = sorted(np.random.default_rng(seed).choice(np.array(files), n, replace=False))
    return [Task(reader, path, may_crash=True) for path in files for reader in STAGES.values()]


def mutant_tasks(specimens: Sequence[Specimen], n: int, seed: int) -> list[Task]:
    """So many broken files, the same number of each specimen's, headers lent within a reader."""
    random = np.random.default_rng(seed)
    tasks = []
    for number in range(n):
        specimen = specimens[number % len(specimens)]
        kin = [each for each in specimens if _family(each) == _family(specimen)]
        lender = kin[int(random.integers(len(kin)))]
        parts = [specimen.parts or ("",), lender.parts or ("",)]
        part, lent = (options[int(random.integers(len(options)))] for options in parts)
        other = lender.path / lent if lent else lender.path
        may_crash = specimen.reader in DECODERS
        tasks.append(Task(specimen.reader, specimen.path, (seed, number), part, other, may_crash))
    return tasks


def _family(specimen: Specimen) -> str:
    return "video" if specimen.reader in DECODERS and not specimen.parts else specimen.reader


def whole_tasks(specimens: Iterable[Specimen]) -> list[Task]:
    """Every specimen as it is: where it is refused, a broken one would prove nothing."""
    return [Task(each.reader, each.path) for each in specimens]


def read(tasks: Sequence[Task], company: Path, options: argparse.Namespace) -> list[Outcome]:
    """Do tasks with the readers of `specimens`."""
    return read_all(tasks, company, module="specimens", processes=options.processes)


def show(part: str, outcomes: Sequence[Outcome], *, verbose: bool) -> list[str]:
    """Print what failed, and return the lines of it."""
    failures = []
    for outcome in sorted(outcomes, key=lambda each: (each.task.reader, str(each.task.path))):
        task = outcome.task
        where = f"{part}: {task.reader} of {task.path.name} {task.part} {task.seed or ''}"
        line = f"{where}: {outcome.kind} after {outcome.seconds:.1f} s: {outcome.text}"
        if outcome.failed:
            failures.append(line)
            print(line)
        elif verbose:
            print(line.splitlines()[0])
    return failures


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="the bounded run, as is the default")
    parser.add_argument("--parts", default=",".join(RUNS), help=f"any of {','.join(RUNS)}")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "odd", help="odd videos")
    parser.add_argument("--files", type=int, help="of the odd videos; default: all")
    parser.add_argument("--mutants", type=int, default=N_MUTANTS, help="files that are broken")
    parser.add_argument("--kills", type=int, default=N_KILLS)
    parser.add_argument("--processes", type=int, default=N_PROCESSES)
    parser.add_argument("--only", default="", help="readers whose files are broken, by comma")
    parser.add_argument("--verbose", action="store_true", help="a line for every file")
    options = parser.parse_args(arguments)
    options.parts = options.parts.split(",")
    if not set(options.parts) <= set(RUNS):
        parser.error(f"--parts must be among {', '.join(RUNS)}, got {','.join(options.parts)}")
    unknown = set(filter(None, options.only.split(","))) - set(READERS)
    if unknown:
        parser.error(f"--only must be among {', '.join(READERS)}, got {', '.join(unknown)}")
    if "odd" in options.parts and not options.data.is_dir():
        parser.error(f"--data must be a folder of odd videos, got {options.data}")
    return options


def run_odd(options: argparse.Namespace, company: Path) -> tuple[list[str], str]:
    """The part `odd`: lines of failures, and a sum of it."""
    tasks = odd_tasks(options.data, options.files, options.seed)
    outcomes = read(tasks, company, options)
    return show("odd", outcomes, verbose=options.verbose), summary("odd", outcomes)


def run_mutate(options: argparse.Namespace, company: Path) -> tuple[list[str], str]:
    """The part `mutate`: lines of failures, and a sum of it."""
    only = options.only.split(",") if options.only else READERS
    with tempfile.TemporaryDirectory() as root:
        specimens = [each for each in write_all(Path(root), company) if each.reader in only]
        whole = read(whole_tasks(specimens), company, options)
        failures = [
            f"mutate: {each.task.path.name} as it is: {each.kind}: {each.text}"
            for each in whole
            if each.kind != "data"
        ]
        for line in failures:
            print(line)
        tasks = mutant_tasks(specimens, options.mutants, options.seed)
        outcomes = read(tasks, company, options)
    failures += show("mutate", outcomes, verbose=options.verbose)
    return failures, summary("mutate", outcomes)


def summary(part: str, outcomes: Sequence[Outcome]) -> str:
    """How many outcomes are of which kind."""
    counts = Counter(each.kind for each in outcomes)
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
    return f"{part}: {len(outcomes)} files read, {kinds}"


def run_kill(options: argparse.Namespace, company: Path) -> tuple[list[str], str]:
    """The part `kill`: lines of failures, and a sum of it."""
    with tempfile.TemporaryDirectory() as root:
        return torment(Path(root), n_kills=options.kills, seed=options.seed)


RUNS = {"odd": run_odd, "mutate": run_mutate, "kill": run_kill}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; 0 where nothing failed, else 1."""
    options = options_of(arguments)
    begun = time.monotonic()
    failures, told = list[str](), list[str]()
    with tempfile.TemporaryDirectory() as company:
        if {"odd", "mutate"} & set(options.parts):
            write_company(Path(company))
        for part in options.parts:
            failed, line = RUNS[part](options, Path(company))
            failures += failed
            told.append(line)
    verdict = "FAILED" if failures else "passed"
    seconds = time.monotonic() - begun
    print(f"torture {verdict}: {len(failures)} failures; {'; '.join(told)}; {seconds:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
