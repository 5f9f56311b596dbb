"""``python -m pgpis`` is the ``pgpis`` command."""

from pgpis.cli import console

console()
