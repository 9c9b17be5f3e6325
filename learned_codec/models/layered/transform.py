"""The block transform of a weights file of the second generation."""

from __future__ import annotations

import numpy as np

from learned_codec.errors import WeightsError
from learned_codec.models.block_transform import BlockTransform
from learned_codec.models.weights import Weights

from .config import LayeredConfig


def block_transform_of(weights: Weights) -> BlockTransform:
    """Raises `WeightsError` if the file lacks a part of it."""
    parts = weights.part("transforms")
    try:
        filters = (parts[name].astype(np.float32) for name in ("forward", "inverse", "pre_filter", "post_filter"))
        bands = weights.config_as(LayeredConfig).bands
        return BlockTransform(bands, parts["components"].astype(np.intp), *filters)
    except KeyError as error:
        raise WeightsError(f"the weights lack transforms.{error.args[0]}") from error
