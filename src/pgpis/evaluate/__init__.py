"""Scoring folders of generated pictures by the field's protocols."""
