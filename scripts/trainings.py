"""What `reproduce.py --tables training` trains: the networks, on the split of both data sets.

Frames and flow of a data set are computed once, for all networks. The spatial and the temporal
tower of late fusion share no weight and are trained alone, once each; late fusion is the mean of
their softmax scores, which is what the network `two-stream` makes of its two heads. Everything
else is `compare.benchmark`'s: scores of a finished training are kept in the run's folder with all
that made them, a training that was stopped goes on from its last epoch.

Chance is the accuracy with labels permuted inside groups, and p that of an accuracy as high as the
one found: what footage gives away is no merit.

On a GPU, where minutes do not matter, the folds of the column `fold` stand in for the one split.

`--tables validation` is how Tennis7's late fusion is settled, without its test clips: towers are
trained in several ways on the split's training clips, each of whose four folds is tested by towers
that did not see it. The rule, written down before the first run: the pair whose late fusion is
furthest above chance over all four folds (accuracy less chance), of equal ones the first; where
that takes out the camera's motion, it is taken out for all networks on Tennis7. The split is then
run with it, once, seed 0, and its p is told, whatever it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from studies import TENNIS, UT

from compare import benchmark, datasets
from compare.significance import above_chance, outcomes, standing
from deep.recogniser import RECOGNISERS
from idt.jobs import Workers

SEEDS: dict[str, tuple[int, ...]] = {UT: (0, 1, 2), TENNIS: (0,)}
OPTIONS: dict[str, Any] = {"size": 112, "backbone": "efficientnet-lite0"}
# By what rows call them: a recogniser of `deep` and what differs from its recipe
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "spatial": ("spatial", {}),
    "temporal": ("temporal", {}),
    "sum-fusion": ("conv-fusion", {"fusion": "sum", "pool": "3d"}),
    "conv-fusion": ("conv-fusion", {"fusion": "conv3d", "pool": "3d"}),
    # whole frames and their mirror images, as the others; its 18 crops take longer than training
    "fstcn": ("fstcn", {"grid": 1}),
}
# For an hour on two cores. The recipes are of UT-Interaction's 83 training clips; Tennis7's 294 are
# gone through half as often, in twice as many steps: in as many, the training loss stayed higher.
# That was settled with a first run's test accuracies in sight.
SHARE_OF_EPOCHS = {UT: 2 / 3, TENNIS: 1 / 3}
LATE = "late-fusion"
TOWERS = ("spatial", "temporal")
RULE = f"{LATE}=average@softmax:{'+'.join(TOWERS)}"
# The towers that `--tables validation` compares: by what rows call them, options in place of those
# of `NETWORKS`. 9 of 18 stages keep ImageNet's weights where the recipe keeps all.
CANDIDATES: dict[str, dict[str, dict[str, Any]]] = {
    "spatial": {"spatial": {}, "spatial-tuned": {"frozen": (9, 0)}},
    "temporal": {
        "temporal": {},
        "temporal-warped": {"warped": True},
        "temporal-warped-longer": {"warped": True, "epochs": 40},
    },
}


class Trained(NamedTuple):
    """One network with one seed, or the mean of a network's seeds."""

    data: str
    method: str
    setting: str
    accuracy: float
    low: float
    high: float
    seconds: float
    seed: int | str


@dataclass(frozen=True)
class Training:
    """All networks on one data set with one seed.

    Attributes
    ----------
    data, seed
        Of `SEEDS`.
    source
        Folder of the data sets' CSV files.
    runs
        Folder that keeps frames, flow and runs.
    workers
        Processes that decode, or a pool of them; as many threads cut clips.
    device
        ``cpu``, or where there is one ``cuda``.
    validates
        Whether `CANDIDATES` are compared, on folds of the split's training clips.
    """

    data: str
    seed: int
    source: Path
    runs: Path
    workers: Workers
    device: str = "cpu"
    validates: bool = False

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        splits = "-validation" if self.validates else "" if self.device == "cpu" else "-folds"
        return self.runs / "training" / f"{self.data}-{self.seed}{splits}"

    @property
    def table(self) -> str:
        """What `reproduce.py` calls the table."""
        return "validation" if self.validates else "training"

    @property
    def frames(self) -> Path:
        """Where frames and flow lie."""
        return self.runs / "frames"

    @property
    def rules(self) -> str:
        """Late fusion; in validation of each pair of candidates."""
        if not self.validates:
            return RULE
        pairs = product(*CANDIDATES.values())
        return ",".join(f"{a} and {b}=average@softmax:{a}+{b}" for a, b in pairs)

    def dataset(self) -> datasets.Dataset:
        """Read the data set: with its split; on a GPU with its folds; or with those of training."""
        path = self.source / f"{self.data}.csv"
        split = datasets.load(path)
        if self.device == "cpu" and not self.validates:
            return split
        by_fold = datasets.load(path, folds="fold")
        if not self.validates:
            return by_fold
        tested = set(split.splits[0].test)
        inner = tuple(fold for fold in by_fold.splits if not tested & set(fold.test))
        return replace(by_fold, splits=inner).without(tested)

    def factories(self) -> dict[str, Any]:
        """What makes each network's recogniser."""
        networks = NETWORKS
        if self.validates:
            networks = {
                name: (tower, options)
                for tower, candidates in CANDIDATES.items()
                for name, options in candidates.items()
            }
        made = {}
        for name, (kind, own) in networks.items():
            make = partial(RECOGNISERS[kind], **OPTIONS, device=self.device)
            usual = make().settings()["recipe"]["epochs"]
            epochs = round(usual * SHARE_OF_EPOCHS[self.data])
            made[name] = partial(make, **{"epochs": epochs} | own)
        return made

    def prepare(self) -> None:
        """Decode the data set's videos and compute their flow."""
        videos = [video.path for video in self.dataset().videos]
        made = [
            make(cache=self.frames, workers=self.workers, verbose=True)
            for make in self.factories().values()
        ]
        flows = {str(flow): each for each in made if (flow := each.settings()["flow"])}
        for recogniser in flows.values():  # each keeps the frames, too, where they lack
            recogniser.prepare(videos)

    def run(self) -> benchmark.Run:
        """Train and test what is not done yet."""
        factories = self.factories()
        return benchmark.run(
            self.dataset(),
            ",".join(factories),
            out=self.folder,
            fuse=self.rules,
            seed=self.seed,
            workers=self.workers,
            verbose=True,
            with_yardsticks=False,
            cache=self.frames,
            command=f"python scripts/reproduce.py --tables {self.table}",
            recognisers=factories,
        )


def rows_of(data: str, runs: Mapping[int, benchmark.Run]) -> Iterator[Trained]:
    """Rows of a data set, network by network: each seed's run, and their mean."""
    first = next(iter(runs.values()))
    groups = first.dataset.groups
    for method in (result.label for result in first.results):
        results = {seed: _result(run, method) for seed, run in runs.items()}
        seconds = {seed: _seconds(runs[seed], result) for seed, result in results.items()}
        wanted: dict[int | str, list[int]] = {seed: [seed] for seed in runs}
        if len(runs) > 1:
            wanted["/".join(map(str, runs))] = list(runs)
        for told, seeds in wanted.items():
            found = outcomes([results[seed].evaluation for seed in seeds])
            place = standing(method, found, groups=groups)
            chance = above_chance(found, groups=groups)
            mean = f"mean of {len(seeds)} seeds, " if len(seeds) > 1 else ""
            yield Trained(
                data=data,
                method=method,
                setting=f"{mean}chance {chance.accuracy:.3f}, p = {chance.test.p:.2g}",
                accuracy=round(place.accuracy, 4),
                low=round(place.interval.low, 4),
                high=round(place.interval.high, 4),
                seconds=round(sum(seconds[seed] for seed in seeds) / len(seeds), 1),
                seed=told,
            )


def _result(run: benchmark.Run, method: str) -> benchmark.Result:
    return next(result for result in run.results if result.label == method)


def _seconds(run: benchmark.Run, result: benchmark.Result) -> float:
    """Seconds of training and testing, of a fusion those of what it fuses."""
    parts = [result] if result.rule is None else [_result(run, m) for m in result.rule.methods]
    return sum(part.fit_seconds + part.score_seconds for part in parts)
