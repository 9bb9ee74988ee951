"""Methods as people read them: terminal table, Markdown, LaTeX, CSV, one self-contained HTML page.

A benchmark's run or any score tables become a `Study`; `find` ranks its methods, tests all pairs of
them and sets gains from dense trajectories beside their controls. The page needs no network and no
file beside it. What its tables and pictures show is computed in `content`, plain values only; how
it looks is the affair of ``page.html.j2``, ``page.css`` and ``page.js``.
"""

from compare.report.cost import Cost, read_costs
from compare.report.findings import Findings, Rank, find, gains_from_idt
from compare.report.forms import as_html, write, write_study
from compare.report.stored import LABELS, Stored, read_places, read_run
from compare.report.study import Entry, Study, of_run, of_tables
from compare.report.tables import as_latex, as_markdown, pairs_csv, results_csv
from compare.report.terminal import notes, terminal_table
from compare.report.texts import duration, headline

__all__ = [
    "LABELS",
    "Cost",
    "Entry",
    "Findings",
    "Rank",
    "Stored",
    "Study",
    "as_html",
    "as_latex",
    "as_markdown",
    "duration",
    "find",
    "gains_from_idt",
    "headline",
    "notes",
    "of_run",
    "of_tables",
    "pairs_csv",
    "read_costs",
    "read_places",
    "read_run",
    "results_csv",
    "terminal_table",
    "write",
    "write_study",
]
