"""The entropy model in integers: encoder and decoder both run it, and it gives the same bits on every machine.

Coding goes layer by layer, and in a layer pass by pass. A decoder may end after any layer: it then has what an image of
1/4 or 1/2 of the size is made of. `integers.py` tells what makes the sums exact. The floating-point twin that is
trained is `entropy_model.py`; `learned_codec.training.export` turns one into the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.entropy import SKIPPED_BINS
from learned_codec.errors import WeightsError

from .config import EXTRA_GAIN, HYPER_STRIDE, MEANS, PASSES, QUALITY_STEPS, ModelConfig, groups_of
from .crosswise import Crosswise
from .engine import VECTOR, Array, Engine, Input, Operations, Program, Tensor
from .integers import (
    ACTIVATION_MAX,
    HYPER_INPUT_BITS,
    LATENT_BITS,
    MEAN_BITS,
    MEAN_MAX,
    MU_BITS,
    MU_MAX,
    PRODUCT_ROWS,
    S_MAX,
    S_MIN,
    Layer,
    Layers,
    bins_of,
    clip,
    power_of_two,
    product_rows,
    rounded_product,
    to_bins,
    vector,
)

SMALL = 16
"""Sides of up to this many latents are not rounded up when the networks run."""

PHASES = 4
"""Positions in a 2 x 2 neighbourhood, row by row. In one pass, each position has another group of channels."""


@dataclass(frozen=True, slots=True)
class LevelTables:
    """All integers that depend on the quality step.

    `unit` (latents,): the log2, in 256ths, of a normalised latent of 1 in quantisation steps. `hyper_bins`
    (hyper_latents,): the scale bins of hyper-latents. `input_scale` and `input_bias` (hyper_latents,): what makes the
    network's input of them. `feature_bias` (context_width,): added to the features. `to_normalised` (latents,): what
    makes normalised latents of quantisation steps. `vectors`: by pass, those that its network takes, made of `unit`.
    """

    unit: NDArray[np.int64]
    hyper_bins: NDArray[np.uint8]
    input_scale: NDArray[np.int64]
    input_bias: NDArray[np.int64]
    feature_bias: NDArray[np.int64]
    to_normalised: NDArray[np.float64]
    vectors: list[list[Array]]


@dataclass(frozen=True, slots=True)
class PassLatents:
    """The latents of one pass.

    `bins` (n,) are their scale bins in the order of the format: position by position, row by row, `channels` each.
    `decoded` are the (height, width, latents) latents of the region, flattened, in quantisation steps: at the places of
    this pass the means, or 0 in layers without means. `offsets` says where these places are, see `_offsets`.
    """

    layer: int
    bins: NDArray[np.uint8]
    channels: int
    offsets: NDArray[np.intp]
    decoded: Array

    def places(self, coded: NDArray[np.intp]) -> NDArray[np.intp]:
        """The indices in `decoded` of latents, given by their indices in `bins`. It is faster in ascending order."""
        found: NDArray[np.intp] = coded + self.offsets[0].take(self._positions(coded))
        return found

    def places_and_channels(self, coded: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The same, and the channels of these latents."""
        positions = self._positions(coded)
        return coded + self.offsets[0].take(positions), coded + self.offsets[1].take(positions)

    def _positions(self, coded: NDArray[np.intp]) -> NDArray[np.integer]:
        found: NDArray[np.integer] = coded.astype(np.int32) // np.int32(self.channels)  # 64 bits take much longer
        return found


LatentSource = Callable[[PassLatents], None]
"""A function that adds the symbols of a pass to `decoded`. An encoder's quantises latents, a decoder's reads a
payload."""


@dataclass(frozen=True, slots=True)
class _BuiltPass:
    """One pass as built: its layer, its number there, the channels at each position, and its networks."""

    layer: int
    number: int
    groups: tuple[slice, ...]
    program: Program


class ExactEntropyModel:
    """The integer entropy model on one engine. Stateless after construction; threads may share it."""

    TABLES = ("unit", "hyper_log2_scale", "input_scale", "input_bias", "feature_bias")

    def __init__(self, config: ModelConfig, tensors: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        """`tensors`: the `exact.*` tensors of a weights file, without that prefix. Raises `WeightsError`."""
        self.config = config
        try:
            self._tables = {name: tensors[f"tables.{name}"].astype(np.int64) for name in self.TABLES}
            self.layers = {name: _loaded(tensors, name, shape) for name, shape in config.exact_layers().items()}
        except KeyError as error:
            raise WeightsError(f"the weights lack the exact tensor {error.args[0]}") from error
        self._layers = Layers(self.layers)
        self._level = lru_cache(maxsize=4)(self._level_of)
        inputs = [
            Input(config.hyper_latents, channels_last=True, stride=HYPER_STRIDE),
            Input(1, stride=2),
            Input(config.context_width, VECTOR),
        ]
        self._features = engine.build_integers(self._features_network, inputs)
        self._passes = [self._built(engine, *found) for found in config.passes()]

    def level(self, step: int) -> LevelTables:
        """The tables at quality step 0 … (levels - 1) * QUALITY_STEPS + EXTRA_STEPS. The last ones are kept."""
        return self._level(step)

    def _level_of(self, step: int) -> LevelTables:
        trained, beyond = self.config.split(step)
        lower = min(trained // QUALITY_STEPS, self.config.levels - 2)
        fraction = trained - lower * QUALITY_STEPS
        values = {
            name: (t[lower] * (QUALITY_STEPS - fraction) + t[lower + 1] * fraction + QUALITY_STEPS // 2)
            // QUALITY_STEPS
            for name, t in self._tables.items()
        }
        values["unit"] = values["unit"] + beyond * EXTRA_GAIN // QUALITY_STEPS
        bins, unit = to_bins(values.pop("hyper_log2_scale")), values["unit"]
        to_normalised, vectors = power_of_two(-unit, LATENT_BITS), []
        for found in self._passes:
            own = np.concatenate([unit[group] for group in found.groups])
            rows = product_rows(own, MEAN_BITS - MU_BITS) if found.layer < MEANS else ()
            vectors.append([vector(own), *map(vector, rows)])
        return LevelTables(hyper_bins=bins, to_normalised=to_normalised, vectors=vectors, **values)

    def programs(self, layers: int = len(PASSES)) -> list[Program]:
        """The networks that the first `layers` need."""
        return [self._features, *(step.program for step in self._passes if step.layer < layers)]

    # -- the networks -------------------------------------------------------------------------------------------------

    def _features_network(self, ops: Operations, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The scaled hyper-latents and the bias -> features, of four times the height and width."""
        x, within, bias = inputs
        x = ops.multiply(self._layers.up(ops, "hyper_synthesis.up1", x), within)
        x = self._layers.block(ops, "hyper_synthesis.block", x)
        x = self._layers.up(ops, "hyper_synthesis.up2", x, 0)
        return [clip(ops, ops.add(self._layers.pointwise(ops, "hyper_synthesis.leave", x), bias))]

    def _features_of(self, hyper: NDArray[np.int32], level: LevelTables, size: tuple[int, int]) -> Array:
        """(hz, wz, hyper_latents) integer hyper-latents -> features (*size, context_width)."""
        height, width, channels = hyper.shape
        x = hyper * level.input_scale.astype(np.float64) + (level.input_bias + (1 << (HYPER_INPUT_BITS - 1)))
        given = np.zeros((size[0] // HYPER_STRIDE, size[1] // HYPER_STRIDE, channels), np.float32)
        given[:height, :width] = np.clip(np.floor(x * 2.0**-HYPER_INPUT_BITS), -ACTIVATION_MAX, ACTIVATION_MAX)
        within = inside(size, height * HYPER_STRIDE, width * HYPER_STRIDE, 2)
        (features,) = self._features(given, within, vector(level.feature_bias))
        return features

    def _built(self, engine: Engine, layer: int, number: int, name: str) -> _BuiltPass:
        part = self.config.layers[layer]
        channels, known = part.stop - part.start, self.config.known(layer, number)
        groups = groups_of(layer, number, channels)
        vectors = PHASES * channels // PASSES[layer]
        inputs = [Input(self.config.context_width + known, channels_last=True), Input(1), Input(vectors, VECTOR)]
        if layer < MEANS:
            inputs += [Input(vectors, VECTOR)] * PRODUCT_ROWS
        leave, starts = self._layers[f"{name}.leave"], {"scales": 0}
        if layer < MEANS:
            starts = {"means": 0, "scales": channels}
        network = partial(self._network, name, {kind: _picked(leave, at, groups) for kind, at in starts.items()})
        places = tuple(slice(part.start + group.start, part.start + group.stop) for group in groups)
        return _BuiltPass(layer, number, places, engine.build_integers(network, inputs))

    def _network(
        self,
        name: str,
        outputs: Mapping[str, tuple[Array, Array]],
        ops: Operations,
        inputs: Sequence[Tensor],
    ) -> Sequence[Tensor]:
        """The bins of a pass, and its means if it has some: (positions * channels, h / 2, w / 2).

        `outputs` are the last layer's parts by what they are.
        """
        context, within, unit, *rest = inputs
        x = ops.multiply(self._layers.pointwise(ops, f"{name}.enter", context), within)
        hidden = ops.space_to_depth(self._layers.block(ops, f"{name}.block", x, 0), 2, places_first=True)
        left = {kind: ops.round(ops.pointwise(hidden, *layer)) for kind, layer in outputs.items()}
        found = [ops.bytes(bins_of(ops, ops.add(ops.clip(left["scales"], S_MIN, S_MAX), unit)))]
        if "means" in left:
            mean = rounded_product(ops, ops.clip(left["means"], -MU_MAX, MU_MAX), rest)
            found.append(ops.clip(mean, -MEAN_MAX, MEAN_MAX))
        return found

    # -- coding -------------------------------------------------------------------------------------------------------

    def latents(
        self,
        hyper: NDArray[np.int32],
        level: LevelTables,
        height: int,
        width: int,
        source: LatentSource,
        coded: NDArray[np.bool_] | None = None,
        layers: int = len(PASSES),
        *,
        complete: bool = False,
        crosswise: Crosswise | None = None,
    ) -> Array:
        """Run the passes of the first `layers` over height x width latents.

        `hyper` is (ceil(height/4), ceil(width/4), hyper_latents). The result (height, width, latents) holds the decoded
        latents in quantisation steps, zeros in other layers and where `coded`, of the same shape, is false. If it is
        `complete`, no latent is skipped for its small scale. With `crosswise`, it is predicted from earlier components.
        """
        size = usual_size(HYPER_STRIDE * hyper.shape[0], HYPER_STRIDE * hyper.shape[1])
        features, within = self._features_of(hyper, level, size), inside(size, height, width)
        decoded = np.zeros((height, width, self.config.latents), np.float32)
        normalised = np.zeros((*size, self.config.layers[1].stop), np.float32)
        component = None if crosswise is None else crosswise.begin(decoded)
        context, signed = features, self.config.layers[0].stop
        for step, vectors in zip(self._passes, level.vectors, strict=True):
            if step.layer >= layers:
                break
            if context.shape[2] != features.shape[2] + self.config.known(step.layer, step.number):
                context = _context(features, normalised, self.config, step)
            results = step.program(context, within, *vectors)
            found = (x.reshape(size[0] // 2, size[1] // 2, PHASES, -1) for x in results)
            bins, *means = (x.transpose(2, 0, 1, 3) for x in found)  # position by position
            bins = np.ascontiguousarray(bins)
            if component is not None:
                component.fit()
            expected: list[Array] = []
            for position, group in enumerate(step.groups):
                here = (*_phase(position), group)
                own = decoded[here]
                rows, columns, _ = own.shape
                bins[position, rows:] = 0  # beyond the region, nothing is coded
                bins[position, :, columns:] = 0
                if means:
                    np.multiply(means[0][position, :rows, :columns], np.float32(2.0**-MEAN_BITS), out=own)
                if component is not None:
                    component.predict(here, own, bins[position, :rows, :columns])
                    expected.append(own.copy() if step.layer else np.zeros_like(own))
                if complete:
                    np.maximum(bins[position, :rows, :columns], SKIPPED_BINS, out=bins[position, :rows, :columns])
                if coded is not None:
                    bins[position, :rows, :columns] *= coded[here]
                    own *= coded[here]
            offsets = _offsets(decoded.shape, bins.shape, tuple(group.start for group in step.groups))
            source(PassLatents(step.layer, bins.reshape(-1), bins.shape[3], offsets, decoded.reshape(-1)))
            for position, group in enumerate(step.groups):
                here = (*_phase(position), group)
                if component is not None:
                    component.note(here)
                if group.stop <= normalised.shape[2]:
                    own = decoded[here] - expected[position] if component is not None else decoded[here]
                    product = own * level.to_normalised[group]
                    np.rint(product, out=product)
                    values = normalised[:height, :width][here]
                    np.clip(product, -ACTIVATION_MAX, ACTIVATION_MAX, out=values)
                    _note(context[:height, :width, features.shape[2] :], signed if step.layer == 0 else 0, here, values)
        return decoded


def _loaded(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> Layer:
    """A layer from its tensors. Raises `WeightsError` if they have other shapes, and `KeyError`."""
    weight, bias, shift = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
    if (weight.shape, bias.shape, shift.shape) != (shape, shape[:1], shape[:1]):
        raise WeightsError(f"exact layer {name} should have weights {shape}, not {weight.shape}")
    return Layer.load(weight, bias, shift, name)


def _picked(layer: Layer, start: int, groups: Sequence[slice]) -> tuple[Array, Array]:
    """The weights (groups, out, in) and the bias of each group of a layer's outputs from `start` on."""
    rows = [slice(start + group.start, start + group.stop) for group in groups]
    weight, bias = (np.stack([values[own] for own in rows]) for values in (layer.weight, layer.bias))
    return weight, bias.reshape(-1)


def _phase(position: int) -> tuple[slice, slice]:
    """The latents at a position of all 2 x 2 neighbourhoods."""
    return slice(position // 2, None, 2), slice(position % 2, None, 2)


@lru_cache(maxsize=32)
def _offsets(shape: tuple[int, ...], bins: tuple[int, ...], starts: tuple[int, ...]) -> NDArray[np.intp]:
    """(2, positions * h/2 * w/2) what makes indices of latents, or channels, of the indices of a place's bins, added.

    `shape` is that of the latents, `bins` that of the bins; both are flattened. `starts` are the first channels at each
    position. Beyond the region, offsets mean nothing. Many images have the same size.
    """
    _, width, latents = shape
    positions, rows, columns, channels = bins
    y, x, position = np.arange(rows)[:, None], np.arange(columns), np.arange(positions)[:, None, None]
    place = (2 * y + position // 2) * width + 2 * x + position % 2
    first = np.broadcast_to(np.array(starts)[:, None, None], place.shape)
    found = np.stack([place * latents + first, first]).reshape(2, -1)
    found -= channels * np.arange(found.shape[1])
    return found


def _note(known: Array, signed: int, here: tuple[slice, slice, slice], values: Array) -> None:
    """Put the normalised values of latents that a pass has decoded into a context, if the next pass takes them.

    Behind the `signed` ones there, `known` has magnitudes.
    """
    rows, columns, group = here
    if signed + group.stop <= known.shape[2]:
        if signed:
            known[here] = values
        np.abs(values, out=known[rows, columns, signed + group.start : signed + group.stop])


def _context(features: Array, normalised: Array, config: ModelConfig, step: _BuiltPass) -> Array:
    """What enters a pass: the features, and values of decoded latents, normalised."""
    known, width = config.known(step.layer, step.number), features.shape[2]
    if not known:
        return features
    context = np.empty((*features.shape[:2], width + known), np.float32)
    context[..., :width] = features
    magnitudes = context[..., width:]
    if step.layer == 0:
        first = config.layers[0].stop
        magnitudes[..., :first] = normalised[..., :first]
        magnitudes = magnitudes[..., first:]
    np.abs(normalised[..., : magnitudes.shape[2]], out=magnitudes)
    return context


def usual_size(height: int, width: int) -> tuple[int, int]:
    """The size at which networks run for height x width latents, multiples of 4. Fewer sizes take less compiling."""
    return -(-height // _usual(height)) * _usual(height), -(-width // _usual(width)) * _usual(width)


def _usual(length: int) -> int:
    return HYPER_STRIDE if length <= SMALL else 2 * HYPER_STRIDE


def inside(size: tuple[int, int], height: int, width: int, stride: int = 1) -> Array:
    """(1, …, …) 1 inside height x width latents and 0 beyond, at positions that are `stride` latents apart.

    Multiplied by this, activations beyond the region become zero, as beyond the border of a convolution.
    """
    result = np.zeros((1, size[0] // stride, size[1] // stride), np.float32)
    result[:, : height // stride, : width // stride] = 1
    return result


def hyper_size(height: int, width: int) -> tuple[int, int]:
    """The height and width of the hyper-latents of height x width latents."""
    return -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE)
