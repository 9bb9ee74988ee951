"""Time codebooks, Fisher vectors and the linear SVM against their named peers.

Cases: `fisher` (20,000 x 48 real rows, 256 components; peer cyvlfeat), `gmm` (100,000 x 48 real
rows, 256 components, 10 iterations from the same start; peers scikit-learn and cyvlfeat), `svm`
(2,000 x 20,000 seeded rows, 50 classes, squared hinge, C = 100, tolerance 1e-4; peer LinearSVC).
Runs of both sides alternate, and their medians are told. A peer that is not installed ends the
run, unless its case is left out with --cases.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from idt.codebook import PCA, DiagonalGMM
from idt.fisher import fisher_vector
from idt.svm import LinearSVM

N_COMPONENTS = 256
PROJECT = Path(__file__).resolve().parent.parent


class Row(NamedTuple):
    """One line of the table."""

    case: str
    ours_s: float
    peer: str
    peer_s: float
    ratio: float
    note: str


def medians(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, runs alternating; short ones run once before.

    A rest before each: threads of OpenBLAS and OpenMP go on spinning for some 20 milliseconds after
    their work, and take a core from whoever comes next.
    """
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            time.sleep(0.1)
            start = time.perf_counter()
            function()
            seconds = time.perf_counter() - start
            if repeat > 0 or seconds > 5:  # a short first run compiles and warms caches
                taken.append(seconds)
    return [statistics.median(taken[-repeats:]) for taken in times]


def real_rows(golden: Path) -> tuple[np.ndarray, np.ndarray]:
    """MBHx and MBHy of all clips, (n, 48) each, after one PCA; rows shuffled."""
    files = sorted(golden.glob("*.trajectories.npz"))
    if not files:
        raise SystemExit(
            f"--golden must hold *.trajectories.npz, got {golden}; or set TRAJFUSE_SHARED"
        )
    random = np.random.default_rng(0)
    parts = []
    for name in ("mbhx", "mbhy"):
        rows = np.concatenate([np.load(file)[name] for file in files])
        parts.append(random.permutation(rows))
    pca = PCA().fit(np.concatenate(parts))
    return pca.transform(parts[0]), pca.transform(parts[1])


def bench_fisher(golden: Path, repeats: int) -> list[Row]:
    from cyvlfeat.fisher import fisher

    rows, training = real_rows(golden)
    rows = rows[:20_000].copy()
    gmm = DiagonalGMM(N_COMPONENTS, max_iter=10).fit(training)
    weights = gmm.weights_.astype(np.float32)
    columns = np.random.default_rng(0).random((48, N_COMPONENTS), dtype=np.float32)
    joint = np.empty((len(rows), N_COMPONENTS), dtype=np.float32)

    def limit() -> None:
        """Four matrix products and one exponential: dense posteriors and nothing else."""
        np.matmul(rows, columns, out=joint)
        np.matmul(rows, columns, out=joint)
        np.exp(joint - joint.max(), out=joint)
        _ = joint.T @ rows, joint.T @ rows

    def ours() -> np.ndarray:
        return fisher_vector(rows, gmm)

    def peer() -> np.ndarray:
        return fisher(rows, gmm.means_, gmm.variances_, weights, improved=True).ravel()

    ours_s, peer_s, limit_s = medians(repeats, ours, peer, limit)
    found, expected = ours(), peer()
    difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    note = (
        f"{len(rows):,} x 48, K={N_COMPONENTS}; four products and one exp take {limit_s:.4f} s, "
        f"ours {ours_s / limit_s:.2f} of that; relative difference {difference:.1e}"
    )
    return [Row("fisher", ours_s, "cyvlfeat", peer_s, peer_s / ours_s, note)]


def bench_gmm(golden: Path, repeats: int) -> list[Row]:
    from cyvlfeat.gmm.cygmm import cy_gmm  # its public face cannot pass a start on
    from sklearn.mixture import GaussianMixture

    real = np.concatenate(real_rows(golden))
    random = np.random.default_rng(0)
    rows = np.tile(real, (-(-100_000 // len(real)), 1))[:100_000]
    noise = random.standard_normal(rows.shape, dtype=np.float32)
    rows[len(real) :] += 0.05 * real.std(axis=0) * noise[len(real) :]
    rows = random.permutation(rows)
    start = DiagonalGMM(N_COMPONENTS, max_iter=1).fit(rows)
    n_iter = 10

    def ours() -> float:
        return (
            DiagonalGMM(N_COMPONENTS, max_iter=n_iter, tol=0)
            .fit(rows, start=start)
            .log_likelihoods_[-1]
        )

    def scikit_learn() -> float:
        mixture = GaussianMixture(
            N_COMPONENTS,
            covariance_type="diag",
            max_iter=n_iter,
            tol=0,
            weights_init=start.weights_.astype(np.float32),
            means_init=start.means_,
            precisions_init=1 / start.variances_,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that ten iterations are not enough for tol=0
            return float(mixture.fit(rows).lower_bound_)

    def cyvlfeat() -> float:
        found = cy_gmm(
            rows,
            N_COMPONENTS,
            n_iter,
            b"custom",
            1,
            0,
            covariance_bound=None,
            init_priors=start.weights_.astype(np.float32),
            init_means=start.means_.copy(),
            init_covars=start.variances_.copy(),
        )
        return float(found[3]) / len(rows)

    ours_s, scikit_s, vlfeat_s = medians(repeats, ours, scikit_learn, cyvlfeat)
    note = f"100,000 x 48, K={N_COMPONENTS}, {n_iter} iterations, same start; nats a row: ours "
    note += f"{ours():.3f}"
    return [
        Row(
            "gmm",
            ours_s,
            "scikit-learn",
            scikit_s,
            scikit_s / ours_s,
            f"{note}, peer {scikit_learn():.3f}",
        ),
        Row(
            "gmm", ours_s, "cyvlfeat", vlfeat_s, vlfeat_s / ours_s, f"{note}, peer {cyvlfeat():.3f}"
        ),
    ]


def bench_svm(_: Path, repeats: int) -> list[Row]:
    from sklearn.svm import LinearSVC

    random = np.random.default_rng(0)
    n_rows, n_columns, n_classes = 2_000, 20_000, 50
    centres = 0.1 * random.standard_normal((n_classes, n_columns), dtype=np.float32)
    labels = np.arange(2 * n_rows) % n_classes
    X = centres[labels] + random.standard_normal((2 * n_rows, n_columns), dtype=np.float32)
    X *= np.sqrt(5) / np.linalg.norm(X, axis=1, keepdims=True)  # five descriptors of norm 1
    train, test = slice(0, n_rows), slice(n_rows, None)
    ours_model = LinearSVM(C=100.0, tol=1e-4)
    peer_model = LinearSVC(C=100.0, loss="squared_hinge", tol=1e-4, max_iter=10_000)
    ours_s, peer_s = medians(
        repeats,
        lambda: ours_model.fit(X[train], labels[train]),
        lambda: peer_model.fit(X[train], labels[train]),
    )
    ours, peer = ours_model.decision_function(X[test]), peer_model.decision_function(X[test])
    correlation = min(np.corrcoef(ours[:, k], peer[:, k])[0, 1] for k in range(n_classes))
    agreement = (ours.argmax(axis=1) == peer.argmax(axis=1)).mean()
    note = (
        f"{n_rows:,} x {n_columns:,}, {n_classes} classes; on as many new rows decision values "
        f"correlate {correlation:.6f} or more, predictions agree {agreement:.2%}"
    )
    return [Row("svm", ours_s, "LinearSVC", peer_s, peer_s / ours_s, note)]


CASES = {"fisher": (bench_fisher, 15), "gmm": (bench_gmm, 3), "svm": (bench_svm, 3)}


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(*Row._fields)
    for row in rows:
        table.add_row(
            row.case,
            f"{row.ours_s:.4f}",
            row.peer,
            f"{row.peer_s:.4f}",
            f"{row.ratio:.1f}",
            row.note,
        )
    Console().print(table)


def main() -> None:
    shared = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, help="write the table here as well")
    parser.add_argument("--golden", type=Path, default=shared / "golden", help="real descriptors")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=int, help="timed runs of each side of a case")
    parser.add_argument("--threads", type=int, default=2, help="of matrix products")
    options = parser.parse_args()
    rows: list[Row] = []
    with threadpool_limits(options.threads):
        for case in options.cases:
            bench, repeats = CASES[case]
            rows += bench(options.golden, options.repeats or repeats)
    show(rows)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            for row in rows:
                times = (f"{row.ours_s:.6f}", row.peer, f"{row.peer_s:.6f}", f"{row.ratio:.3f}")
                writer.writerow((row.case, *times, row.note))


if __name__ == "__main__":
    main()
