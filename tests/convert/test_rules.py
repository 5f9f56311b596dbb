"""Renaming by rules: every tensor is accounted for, or the conversion fails."""

import pytest
import torch

from pgpis.convert import Duplicate, Rename, apply_rules
from pgpis.errors import PgpisError

RULES = (Rename("net.", "model"), Rename("net.head.", "head", "layers."), Duplicate("copy.", "net."))


def test_longest_prefix_decides_and_duplicates_are_dropped():
    weight = torch.tensor([1.0, float("nan")])
    state = {"net.a": weight, "net.head.b": torch.ones(2), "copy.a": weight.clone(), "copy.head.b": torch.ones(2)}
    components, report = apply_rules(state, RULES)
    assert {name: sorted(tensors) for name, tensors in components.items()} == {"model": ["a"], "head": ["layers.b"]}
    assert components["model"]["a"] is weight
    assert report.renamed == {"net.a": "model/a", "net.head.b": "head/layers.b"}
    assert report.dropped == dict.fromkeys(["copy.a", "copy.head.b"], "copy.* repeats net.*")


def test_a_duplicate_takes_the_place_of_a_missing_original():
    components, report = apply_rules({"copy.head.b": torch.ones(2)}, RULES)
    assert torch.equal(components["head"]["layers.b"], torch.ones(2))
    assert report.renamed == {"copy.head.b": "head/layers.b"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"net.a": torch.ones(2), "other.b": torch.ones(2), "net_ema.a": torch.ones(2)}, "other.b, net_ema.a"),
        ({"net.a": torch.ones(2), "copy.a": torch.zeros(2)}, "'copy.a' should equal 'net.a'"),
        ({"net.a": torch.ones(2), "copy.a": torch.ones(2).double()}, "'copy.a' should equal 'net.a'"),
        ({"net.a": torch.ones(2), "copy.a": torch.ones(1, 2)}, "'copy.a' should equal 'net.a'"),
        ({"net.head.b": torch.ones(2), "net.layers.b": torch.ones(2)}, "two tensors for head/layers.b"),
    ],
)
def test_anything_else_is_an_error(state, message):
    rules = (*RULES, Rename("net.layers.", "head", "layers."))
    with pytest.raises(PgpisError, match=message):
        apply_rules(state, rules, source="last.ckpt")


def test_prefixes_end_with_a_dot():
    with pytest.raises(ValueError, match="dot"):
        Rename("unet", "unet")
