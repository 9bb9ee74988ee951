"""A run as people read it: terminal table, Markdown, CSV, and one self-contained HTML page.

The page needs no network and no file beside it. What each table and picture shows is computed in
`content`, plain values only; how it looks is the template's affair (``compare/report.html.j2``).
"""

from compare.report.content import duration, headline, page_content
from compare.report.forms import as_csv, as_html, as_markdown, notes, terminal_table, write

__all__ = [
    "as_csv",
    "as_html",
    "as_markdown",
    "duration",
    "headline",
    "notes",
    "page_content",
    "terminal_table",
    "write",
]
