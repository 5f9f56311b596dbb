"""Pipelines: what an end user calls, with ``save_pretrained`` and ``from_pretrained``."""

from pgpis.pipelines.fpdm import FPDMPipeline, FPDMPipelineOutput

__all__ = ["FPDMPipeline", "FPDMPipelineOutput"]
