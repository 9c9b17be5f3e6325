"""The layered entropy model in integers; `models.exact` tells what makes sums exact.

Coding goes layer by layer, and in a layer pass by pass. A decoder may end after any layer: it then has what an image of
1/4 or 1/2 of the size is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.errors import WeightsError
from learned_codec.models.config import HYPER_STRIDE
from learned_codec.models.engine import VECTOR, Array, Engine, Input, Operations, Program, Tensor
from learned_codec.models.exact import (
    ACTIVATION_MAX,
    LATENT_BITS,
    MEAN_BITS,
    MEAN_MAX,
    MU_BITS,
    MU_MAX,
    PHASES,
    PRODUCT_ROWS,
    S_MAX,
    S_MIN,
    ExactHyperPrior,
    Layers,
    LevelTables,
    Stage,
    bins_of,
    clip,
    inside,
    power_of_two,
    product_rows,
    rounded_product,
    usual_size,
    vector,
)

from .config import MEANS, PASSES, LayeredConfig, groups_of

LayerSource = Callable[[int, Stage], None]
"""As `exact.LatentSource`, with the layer's number. A stage's groups count the channels of the layer."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass as built: its layer, the channels at each position, and its networks."""

    layer: int
    number: int
    groups: tuple[slice, ...]
    program: Program


class LayeredEntropyModel(ExactHyperPrior):
    """The integer entropy model of the second generation on one engine. Stateless after construction."""

    def __init__(self, config: LayeredConfig, tensors: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        """As `ExactHyperPrior`."""
        for name, shape in config.exact_layers().items():
            expected = {"weight": shape, "bias": shape[:1], "shift": shape[:1]}
            for part, size in expected.items():
                found = tensors.get(f"{name}.{part}")
                if found is None:
                    raise WeightsError(f"the weights lack the exact tensor {name}.{part}")
                if found.shape != size:
                    raise WeightsError(f"exact layer {name} should have weights {shape}, not {found.shape}")
        super().__init__(config, tensors, engine)
        self.config, self._layers = config, Layers(self.layers)
        self._passes = [self._built(engine, *found) for found in config.passes()]
        self.programs = [self._features, *(found.program for found in self._passes)]

    # -- the networks -------------------------------------------------------------------------------------------------

    def _built(self, engine: Engine, layer: int, number: int, name: str) -> _Pass:
        part = self.config.layers[layer]
        channels, known = part.stop - part.start, self.config.known(layer, number)
        groups = groups_of(layer, number, channels)
        vectors = PHASES * channels // PASSES[layer]
        inputs = [Input(self.config.context_width, channels_last=True), Input(1), Input(vectors, VECTOR)]
        if known:
            inputs.append(Input(known, channels_last=True))
        if layer < MEANS:
            inputs += [Input(vectors, VECTOR)] * PRODUCT_ROWS
        network = partial(self._network, name, groups, channels, known=known > 0, means=layer < MEANS)
        return _Pass(layer, number, groups, engine.build(network, inputs, exact=True, channels_last=True))

    def _network(
        self,
        name: str,
        groups: tuple[slice, ...],
        channels: int,
        ops: Operations,
        inputs: Sequence[Tensor],
        *,
        known: bool,
        means: bool,
    ) -> Sequence[Tensor]:
        """The bins of a pass, and its means if it has some: (positions * channels, h / 2, w / 2)."""
        features, within, unit, *rest = inputs
        enter, width = self._layers[f"{name}.enter"], self.config.context_width
        x = ops.pointwise(features, enter.weight[:, :width], enter.bias)
        if known:
            x = ops.add(x, ops.pointwise(rest.pop(0), enter.weight[:, width:]))
        x = ops.multiply(clip(ops, ops.floor(x)), within)
        hidden = ops.space_to_depth(self._layers.block(ops, f"{name}.block", x, 0), 2, places_first=True)
        leave = self._layers[f"{name}.leave"]

        def left(start: int) -> Tensor:
            rows = [slice(start + group.start, start + group.stop) for group in groups]
            weight, bias = (np.stack([values[own] for own in rows]) for values in (leave.weight, leave.bias))
            return ops.floor(ops.pointwise(hidden, weight, bias.reshape(-1)))

        s = ops.clip(left(channels if means else 0), S_MIN, S_MAX)
        found = [bins_of(ops, ops.add(s, unit))]
        if means:
            mean = rounded_product(ops, ops.clip(left(0), -MU_MAX, MU_MAX), rest)
            found.append(ops.clip(mean, -MEAN_MAX, MEAN_MAX))
        return found

    # -- coding -------------------------------------------------------------------------------------------------------

    def latents(
        self,
        hyper: NDArray[np.int32],
        level: LevelTables,
        height: int,
        width: int,
        source: LayerSource,
        coded: NDArray[np.bool_] | None = None,
        layers: int = len(PASSES),
    ) -> Array:
        """Run the passes of the first `layers` over height x width latents.

        `hyper` is (ceil(height/4), ceil(width/4), hyper_latents). The result (height, width, latents) holds the decoded
        latents in quantisation steps, zeros in other layers and where `coded`, of the same shape, is false.
        """
        size = usual_size(HYPER_STRIDE * hyper.shape[0], HYPER_STRIDE * hyper.shape[1])
        features, within = self._features_of(hyper, level, size), inside(size, height, width)
        to_mean = product_rows(level.unit, MEAN_BITS - MU_BITS)
        to_normalised = power_of_two(-level.unit, LATENT_BITS - MEAN_BITS)
        decoded = np.zeros((*size, self.config.latents), np.float32)  # in 2^-MEAN_BITS steps
        normalised = np.zeros((*size, self.config.layers[1].stop), np.float32)
        for step in self._passes:
            if step.layer >= layers:
                break
            part = self.config.layers[step.layer]
            channels = np.concatenate([np.arange(part.start + g.start, part.start + g.stop) for g in step.groups])
            given = [features, within, vector(level.unit[channels])]
            if known_width := self.config.known(step.layer, step.number):
                given.append(np.ascontiguousarray(_entering(normalised, self.config, step.layer, known_width)))
            if step.layer < MEANS:
                given += map(vector, to_mean[:, channels])
            float_bins, *found = (x.reshape(size[0] // 2, size[1] // 2, PHASES, -1) for x in step.program(*given))
            bins = float_bins.astype(np.uint8)
            means = found[0] if found else np.zeros(bins.shape, np.float32)
            _leave_out(bins, means, step.groups, part, height, width, coded)
            source(step.layer, Stage(step.groups, means, bins))
            for position, group in enumerate(step.groups):
                row, column = divmod(position, 2)
                own = slice(part.start + group.start, part.start + group.stop)
                decoded[row::2, column::2, own] = means[:, :, position]
                if own.stop <= normalised.shape[2]:
                    product = np.floor(means[:, :, position] * to_normalised[own])
                    normalised[row::2, column::2, own] = product.clip(-ACTIVATION_MAX, ACTIVATION_MAX)
        result: Array = decoded[:height, :width] * np.float32(2.0**-MEAN_BITS)
        return result


def _entering(normalised: Array, config: LayeredConfig, layer: int, width: int) -> Array:
    """The values of decoded latents, normalised, that enter a pass."""
    first = config.layers[0]
    if layer == 0:
        values = normalised[..., first]
        return np.concatenate([values, np.abs(values)], 2)
    return np.abs(normalised[..., :width])


def _leave_out(
    bins: NDArray[np.uint8],
    means: Array,
    groups: tuple[slice, ...],
    part: slice,
    height: int,
    width: int,
    coded: NDArray[np.bool_] | None,
) -> None:
    """Scale bin 0 and mean 0 beyond the region and where latents aren't coded."""
    for position, group in enumerate(groups):
        row, column = divmod(position, 2)
        end = (height - row + 1) // 2, (width - column + 1) // 2
        for values in (bins, means):
            values[end[0] :, :, position] = 0
            values[:, end[1] :, position] = 0
        if coded is not None:
            here = coded[row::2, column::2, part][:, :, group]
            means[: end[0], : end[1], position] *= here
            bins[: end[0], : end[1], position] *= here
