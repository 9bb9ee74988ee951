"""``python -m idt`` is ``trajfuse idt``."""

from idt.cli import app

app(prog_name="python -m idt")
