"""Conditions from pictures: what a model reads beside a photograph."""
