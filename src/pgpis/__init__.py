"""Pose-guided person image synthesis: one picture and a target pose in, the same person in that pose out."""

import logging

from pgpis.aliases import install

__version__ = "0.1.0"

_OF_TORCHAO = {
    "torch.utils._pytree": "is an Enum subclass",
    "diffusers.quantizers.torchao.torchao_quantizer": "Unable to import `torchao`",
}
"""By logger, what is said at each start where it is installed, in every process, and is of no use to anybody."""
for _name, _said in _OF_TORCHAO.items():
    logging.getLogger(_name).addFilter(lambda record, said=_said: said not in record.getMessage())  # type: ignore[misc]

install()
