"""Kill processes of a run at random and resume it, again and again; for `torture.py`.

    python scripts/kills.py INPUT FOLDER        the run that is killed

The run is `trajfuse idt extract` on the 40 clips of INPUT with two workers, into FOLDER/tracks, and
an encoding of the tables with two workers, into FOLDER/encodings.h5. Before each kill all processes
are stopped for an instant, so that what each is at can be read: from the manifest, from the files
that they have open, and from the log that the encoding writes.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

N_CLIPS = 40
N_WORKERS = 2
CLIPS, TRACKS, BOOK, ENCODINGS = "clips", "tracks", "book.npz", "encodings.h5"
LOG, SAID = "encoded.log", "said.txt"
PRESET = "fast"
MAX_RESUMES = 2  # after the last kill
PAUSE_S = 1.0  # mean time from one kill to the next
ORPHANS_S = 120.0  # that workers may take to see that their run is gone
PROJECT = Path(__file__).resolve().parents[1]


class Process(NamedTuple):
    """A process of the run."""

    pid: int
    is_main: bool


def encode(book: Path, log: Path, table: Path) -> np.ndarray:
    """Fisher vector of a table; which process works on which is written down first."""
    from idt.codebook import Codebook
    from idt.fisher import FisherVectorEncoder
    from idt.trajectories import Trajectories

    with log.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {table.stem}\n")
    return FisherVectorEncoder(Codebook.load(book)).encode(Trajectories.load(table))


def run(given: Path, folder: Path) -> int:
    """Extract and encode; 0 where all is done."""
    from compare.cli import main
    from idt.codebook import Codebook
    from idt.encodings import encode_into
    from idt.fisher import FisherVectorEncoder

    tracks = folder / TRACKS
    command = ["idt", "extract", str(given / CLIPS), "-o", str(tracks), "--preset", PRESET]
    code = main([*command, "--workers", str(N_WORKERS), "--quiet"])
    if code:
        return code
    tables = sorted(tracks.rglob("*.h5"))
    encoder = FisherVectorEncoder(Codebook.load(given / BOOK))
    encode_into(
        folder / ENCODINGS,
        partial(encode, given / BOOK, folder / LOG),
        tables,
        ids=[table.stem for table in tables],
        n_columns=encoder.n_features,
        settings={"codebook": BOOK},
        workers=N_WORKERS,
    )
    return 0


def prepare(folder: Path) -> None:
    """Write the clips and a codebook for them."""
    from specimens import write_clip

    from idt.codebook import Codebook
    from idt.extract import Extraction, ExtractOptions

    (folder / CLIPS).mkdir(parents=True)
    for number in range(N_CLIPS):
        clip = folder / CLIPS / f"clip{number:02}.avi"
        write_clip(clip, "mpeg4", "yuv420p", n_frames=40 + number)
    tracks = Extraction(folder / CLIPS / "clip00.avi", options=ExtractOptions.preset(PRESET))
    rows = {name: rows for name, rows in tracks.table().descriptors.items() if name != "trajectory"}
    Codebook(2, reduction=0.1, seed=0).fit(rows).save(folder / BOOK)


class Victim:
    """A run that is killed in part and started again until it ends well."""

    def __init__(self, given: Path, folder: Path, random: np.random.Generator) -> None:
        folder.mkdir()
        self.given, self.folder, self.random = given, folder, random
        self.kills = self.resumes = 0
        self.hits = {TRACKS: Counter[str](), ENCODINGS: Counter[str]()}
        self.failures: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def go(self, n_kills: int) -> None:
        """Run to the end, through at most so many kills."""
        while True:
            if self.process is None:
                self._start()
            code = self._wait(n_kills)
            if code is None:
                self._kill()
            elif code == 0:
                return
            elif self.resumes > MAX_RESUMES:
                told = (self.folder / SAID).read_text(encoding="utf-8", errors="replace")
                self.failures.append(f"kill: the last resume ended with {code}: {told[-2000:]}")
                return
            else:  # what was lost with its workers is tried again
                self.resumes += self.kills >= n_kills
                self.process = None

    def _start(self) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), str(self.given), str(self.folder)]
        with (self.folder / SAID).open("ab") as said:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
                stdout=said,
                stderr=said,
            )

    def _wait(self, n_kills: int) -> int | None:
        """Exit code of the run; None where it goes on and it is time for the next kill."""
        assert self.process is not None
        try:
            due = float(self.random.exponential(PAUSE_S)) if self.kills < n_kills else None
            return self.process.wait(due)
        except subprocess.TimeoutExpired:
            return None

    def _kill(self) -> None:
        """Stop all processes, note what each is at, kill one, and let the others go on."""
        assert self.process is not None
        family = list(descendants(self.process.pid))
        for each in family:
            send(each.pid, signal.SIGSTOP)
        try:
            running = [
                name
                for name, (state, _) in manifest_rows(self.folder / TRACKS).items()
                if state == "running"
            ]
        except sqlite3.OperationalError:  # stopped while it was writing there: another time
            for each in family:
                send(each.pid, signal.SIGCONT)
            return
        chosen = family[int(self.random.integers(len(family)))]
        others = {name for each in family if each != chosen for name in open_clips(each.pid)}
        hit = running if chosen.is_main else [name for name in running if name not in others]
        self.hits[TRACKS].update(hit)
        dying = family if chosen.is_main else [chosen]
        last = dict(line.split(maxsplit=1) for line in logged(self.folder))
        self.hits[ENCODINGS].update(last[str(p.pid)] for p in dying if str(p.pid) in last)
        send(chosen.pid, signal.SIGKILL)
        self.kills += 1
        for each in reversed(family):
            send(each.pid, signal.SIGCONT)
        if chosen.is_main:
            self.process.wait()
            self.process = None
            self._await_end([each.pid for each in family])

    def _await_end(self, pids: list[int]) -> None:
        """See that no process outlives its run."""
        until = time.monotonic() + ORPHANS_S
        while left := [pid for pid in pids if is_alive(pid)]:
            if time.monotonic() > until:
                self.failures.append(f"kill: processes {left} outlive their run")
                for pid in left:
                    send(pid, signal.SIGKILL)
                return
            time.sleep(0.05)

    def check(self, undisturbed: Path) -> None:
        """Compare results with those of a run that nobody disturbed, and count tries."""
        for path in [*sorted((undisturbed / TRACKS).rglob("*.h5")), undisturbed / ENCODINGS]:
            other = self.folder / path.relative_to(undisturbed)
            if not other.is_file() or other.read_bytes() != path.read_bytes():
                self.failures.append(f"kill: {path.name} differs from the undisturbed run's")
        tries = {
            TRACKS: {name: n for name, (_, n) in manifest_rows(self.folder / TRACKS).items()},
            ENCODINGS: Counter(line.split(maxsplit=1)[1] for line in logged(self.folder)),
        }
        for part, counts in tries.items():
            if len(counts) != N_CLIPS:
                self.failures.append(f"kill: {part} knows {len(counts)} of {N_CLIPS} clips")
            for name, n in counts.items():
                if n > self.hits[part][name] + 1:
                    killed = self.hits[part][name]
                    text = f"kill: {part}: {name} was worked on {n} times, killed {killed} times"
                    self.failures.append(text)


def manifest_rows(folder: Path) -> dict[str, tuple[str, int]]:
    """State and tries by name; nothing where there is no manifest yet."""
    path = folder / "manifest.sqlite"
    if not path.is_file():
        return {}
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0)
    try:
        rows = base.execute("SELECT name, state, tries FROM items").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return {}
        raise
    finally:
        base.close()
    return {os.fsdecode(name): (state, tries) for name, state, tries in rows}


def logged(folder: Path) -> list[str]:
    """Whole lines of the encoding's log."""
    log = folder / LOG
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    return text.split("\n")[:-1]


def descendants(pid: int) -> Iterator[Process]:
    """The main process of a run and all that it started, from the first on (Linux)."""
    yield Process(pid, True)
    waiting = [pid]
    while waiting:
        started = [
            int(child)
            for thread in threads(waiting.pop(0))
            for child in read(thread / "children").split()
        ]
        waiting += started
        yield from (Process(child, False) for child in started)


def threads(pid: int) -> list[Path]:
    """Folders of a process's threads, each of which has children of its own (Linux)."""
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def read(path: Path) -> str:
    """Text of a file; nothing where it is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def open_clips(pid: int) -> Iterator[str]:
    """Clips that a process has open, by name."""
    try:
        links = [os.readlink(entry) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return
    yield from (Path(link).stem for link in links if link.endswith(".avi"))


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def torment(root: Path, *, n_kills: int, seed: int) -> tuple[list[str], str]:
    """Run undisturbed, then through kills; lines of failures, and a sum of it.

    A run that ends before it was killed so often is done again in another folder.
    """
    random = np.random.default_rng(seed)
    prepare(root)
    calm = Victim(root, root / "undisturbed", random)
    calm.go(0)
    failures, done, rounds = calm.failures, 0, 0
    while done < n_kills and not failures:
        victim = Victim(root, root / f"disturbed{rounds}", random)
        victim.go(n_kills - done)
        victim.check(calm.folder)
        failures += victim.failures
        done, rounds = done + victim.kills, rounds + 1
    for line in failures:
        print(line)
    return failures, f"kill: {done} kills in {rounds} rounds of {N_CLIPS} clips"


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), Path(sys.argv[2])))
