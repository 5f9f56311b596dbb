"""Bakes the body that ``pgpis synth`` draws people from: ``python -m tools.body.bake``, see there."""
