"""Configurations that the official code wrote, for today's classes."""

from __future__ import annotations

from typing import Any


def known_fields(config_class: type[Any], config: dict[str, Any]) -> dict[str, Any]:
    """Keep the fields that today's configuration still has: the fixtures were written by transformers 4.40."""
    defaults = config_class().to_dict()
    model_type = {"model_type": config["model_type"]}
    return {key: config[key] for key in config if key in defaults and config[key] != defaults[key]} | model_type
