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


@dataclass(frozen=True, slots=True)
class PassLatents:
    """The latents of one pass.

    `bins` (n,) are their scale bins in the order of the format: position by position, row by row, `channels` each.
    `decoded` are the (height, width, latents) latents of the region, flattened, in quantisation steps: at the places of
    this pass the means, or 0 in layers without means. `offsets` says where these places are.
    """

    layer: int
    bins: NDArray[np.uint8]
    channels: int
    offsets: NDArray[np.intp]
    decoded: Array

    def places(self, order: NDArray[np.intp]) -> NDArray[np.intp]:
        """The indices in `decoded` of latents, given by their indices in `bins`."""
        return order + self.offsets.take(order // self.channels)


LayerSource = Callable[[PassLatents], None]
"""A function that adds the symbols of a pass to `decoded`. An encoder's quantises latents, a decoder's reads a
payload."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass as built: its layer, its number there, the channels at each position, and its networks."""

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
        places = tuple(slice(part.start + group.start, part.start + group.stop) for group in groups)
        return _Pass(layer, number, places, engine.build(network, inputs, exact=True, channels_last=True))

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
        to_normalised = power_of_two(-level.unit, LATENT_BITS)
        decoded = np.zeros((height, width, self.config.latents), np.float32)
        normalised = np.zeros((*size, self.config.layers[1].stop), np.float32)
        for step in self._passes:
            if step.layer >= layers:
                break
            channels = np.concatenate([np.arange(group.start, group.stop) for group in step.groups])
            given = [features, within, vector(level.unit[channels])]
            if known_width := self.config.known(step.layer, step.number):
                given.append(_entering(normalised, self.config, step.layer, known_width))
            if step.layer < MEANS:
                given += map(vector, to_mean[:, channels])
            found = (x.reshape(size[0] // 2, size[1] // 2, PHASES, -1) for x in step.program(*given))
            float_bins, *means = (x.transpose(2, 0, 1, 3) for x in found)  # position by position
            bins = float_bins.astype(np.uint8, "C")
            for position, group in enumerate(step.groups):
                here = (*_phase(position), group)
                own = decoded[here]
                rows, columns, _ = own.shape
                bins[position, rows:] = 0  # beyond the region, nothing is coded
                bins[position, :, columns:] = 0
                if means:
                    np.multiply(means[0][position, :rows, :columns], np.float32(2.0**-MEAN_BITS), out=own)
                if coded is not None:
                    bins[position, :rows, :columns] *= coded[here]
                    own *= coded[here]
            offsets = _offsets(decoded.shape, bins.shape, [group.start for group in step.groups])
            source(PassLatents(step.layer, bins.reshape(-1), bins.shape[3], offsets, decoded.reshape(-1)))
            for position, group in enumerate(step.groups):
                if group.stop <= normalised.shape[2]:
                    here = (*_phase(position), group)
                    product = np.floor(decoded[here] * to_normalised[group])
                    normalised[:height, :width][here] = product.clip(-ACTIVATION_MAX, ACTIVATION_MAX)
        return decoded


def _phase(position: int) -> tuple[slice, slice]:
    """The latents at a position of all 2 x 2 neighbourhoods."""
    return slice(position // 2, None, 2), slice(position % 2, None, 2)


def _offsets(shape: tuple[int, ...], bins: tuple[int, ...], starts: Sequence[int]) -> NDArray[np.intp]:
    """(positions * h/2 * w/2,) how much larger the indices of a place's channels are in the latents than in the bins.

    `shape` is that of the latents, `bins` that of the bins; both are flattened. `starts` are the first channels at each
    position. Beyond the region, offsets mean nothing.
    """
    _, width, latents = shape
    positions, rows, columns, channels = bins
    y, x, position = np.arange(rows)[:, None], np.arange(columns), np.arange(positions)[:, None, None]
    place = (2 * y + position // 2) * width + 2 * x + position % 2
    first: NDArray[np.intp] = (place * latents + np.array(starts)[:, None, None]).reshape(-1)
    return first - channels * np.arange(first.size)


def _entering(normalised: Array, config: LayeredConfig, layer: int, width: int) -> Array:
    """The values of decoded latents, normalised, that enter a pass."""
    first = config.layers[0]
    if layer == 0:
        values = normalised[..., first]
        return np.concatenate([values, np.abs(values)], 2)
    return np.abs(normalised[..., :width], order="C")
