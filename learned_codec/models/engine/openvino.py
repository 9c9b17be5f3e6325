"""The engine for CPUs: networks are built from OpenVINO's operators, without a conversion."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from queue import Empty, LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_codec.caching import cached_property
from learned_codec.forks import gate

from ..device import cores, trim
from .import_openvino import openvino as ov
from .import_openvino import opset13 as op
from .interface import BYTE, BYTE_ZERO, BYTES, Array, Input, NetworkFunction, Program
from .numpy import build as on_numpy
from .probe import sums_are_exact

FULL = "f32"
"""What this engine calls float32."""

MAX_SIDE = 1 << 16
"""The most positions along an axis, more than any tile has. Without a limit, products of sizes overflow in OpenVINO."""

SMALL_INPUTS = 1 << 19
"""What a graph needs for inputs of up to this many numbers, a few megabytes, is kept for its next run."""

MOST_SIZES = 4
"""The first sizes of a network's inputs have graphs of their own, up to this number."""

UNCOMPILED = 1 << 12
"""At how many positions NumPy computes a network of integers before it is compiled, which takes about as much longer. A
pass has this number of positions in four megapixels, so small images need no compiling. If as many are expected, it is
compiled at once."""

_IN_A_FORK = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 0}
"""Settings in a forked process: no threads but the caller's.

The fork copied no others, and OpenVINO would wait for them. It also keeps the threads of models that were freed, and
gives them to the next model with as many streams and threads.
"""

_of_other_processes: list[Any] = []
"""Objects from before a fork. The new process can neither use nor free them: freeing would wait for threads as well."""

_WANT = re.compile(r"alloc|memory|temporarily unavailable", re.IGNORECASE)
"""In the engine's errors: of memory, or of threads."""

_CHANNELS, _HEIGHT, _WIDTH, _RANK = 1, 2, 3, 4  # a tensor has a first dimension of 1


@cache
def _core() -> Any:
    return ov.Core()


def has_bf16() -> bool:
    """Whether the processor computes in bf16. Emulated bf16 is slower than float32."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVino:
    """An engine with `threads` for each product. As many products run at once as there are cores for."""

    device = "cpu"

    def __init__(self, threads: int, uncompiled: int = UNCOMPILED, *, short: bool = True) -> None:
        """NumPy computes a network of integers at `uncompiled` positions before it is compiled.

        Without `short`, everything is computed in float32, even where the processor has bf16.
        """
        self._uncompiled = uncompiled
        self._settings = {
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # other work runs here, too
            "SNIPPETS_MODE": "DISABLE",  # runs are no slower without, and a quarter less time is spent on compiling
        }
        self._threads, self._most = threads, max(1, cores() // threads)
        self._leftovers = _Leftovers()
        self._probing = threading.Lock()
        self._short = "bf16" if short and has_bf16() else FULL

    def build(
        self,
        network: NetworkFunction,
        inputs: Sequence[Input],
        *,
        exact: bool,
        channels_last: bool = False,
        any_size: bool = False,
    ) -> _OpenVinoProgram:
        """As `Engine.build`."""

        def graph() -> Any:
            parameters = [op.parameter(_shape(i), np.float32) for i in inputs]
            pairs = zip(parameters, inputs, strict=True)
            tensors = [_turned(p, 0, 3, 1, 2) if i.channels_last else p for p, i in pairs]
            found = network(OpenVinoOperations(), tensors)
            results = [op.result(_turned(x, 0, 2, 3, 1) if channels_last else x) for x in found]
            return ov.Model(results, parameters)

        precision = FULL if exact else self._short
        settings = self._settings | {"INFERENCE_PRECISION_HINT": precision}
        sizes = 0 if any_size else MOST_SIZES
        return _OpenVinoProgram(graph, inputs, settings, self._most, sizes, self._leftovers)

    def build_integers(self, network: NetworkFunction, inputs: Sequence[Input]) -> Program:
        """As `Engine.build_integers`."""
        return _Integers(on_numpy(network, inputs), partial(self.compiled_integers, network, inputs), self._uncompiled)

    def compiled_integers(self, network: NetworkFunction, inputs: Sequence[Input]) -> _OpenVinoProgram | None:
        """A network of integers in the fastest arithmetic that is exact. None if none is."""
        with _at_work(), self._probing:  # one thread for all
            exact = self._exact
        return self._in(exact, network, inputs) if exact else None

    @cached_property
    def _exact(self) -> str | None:
        """The fastest arithmetic in which networks of integers are exact."""
        kinds = dict.fromkeys((self._short, FULL))
        return next((kind for kind in kinds if sums_are_exact(partial(self._in, kind))), None)

    def _in(self, precision: str, network: NetworkFunction, inputs: Sequence[Input]) -> _OpenVinoProgram:
        return self.build(network, inputs, exact=precision == FULL, channels_last=True)

    def expect(self, programs: Sequence[Program], positions: int) -> None:
        """As `Engine.expect`."""
        for program in programs:
            if isinstance(program, _Integers):
                program.expect(positions)

    def prepare(self, programs: Sequence[Program], height: int, width: int) -> None:
        """As `Engine.prepare`."""
        found = [program for program in programs if isinstance(program, _OpenVinoProgram | _Integers)]
        waiting = [program for program in found if not program.is_ready(height, width)]
        if self._threads == 1 or len(waiting) < 2:
            for program in waiting:
                program.prepare(height, width)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(lambda program: program.prepare(height, width), waiting))
        if waiting:
            self._leftovers.note()


Sizes = tuple[tuple[int, ...], ...]
"""The shapes of a network's inputs."""


class _Leftovers:
    """Free memory that compiling graphs and their first runs leave. It is given back to the system once for several.

    Other arrays would use it again at last, but until then, it may be as much as all others need.
    """

    def __init__(self) -> None:
        self._some = False

    def note(self) -> None:
        """A graph has been compiled, or has run for the first time."""
        self._some = True

    def clear(self) -> None:
        """A graph has run again, so it may be that no other will run for the first time soon."""
        if self._some:
            self._some = False
            trim()


class _Compiled:
    """A graph as this process compiled it: once, or as often as threads run it at the same time, up to `most` times.

    So it runs in the threads of its callers, and their memory is used again for other graphs and for arrays. A thread
    rather waits for another than compiles, until all waiting has taken as long as compiling did.
    """

    def __init__(self, graph: Any, settings: dict[str, Any], most: int, leftovers: _Leftovers) -> None:
        self._graph, self._leftovers = graph, leftovers
        self._settings = settings | (_IN_A_FORK if gate().in_child else {})
        self._turns, self._idle = threading.Semaphore(most), LifoQueue[_Runner]()
        self._patience = 0.0  # seconds
        self._idle.put(self._compile())

    def _compile(self) -> _Runner:
        begun = time.monotonic()
        found = _Runner(_core().compile_model(self._graph, "CPU", self._settings), self._leftovers)
        self._patience += time.monotonic() - begun
        return found

    def __call__(self, arrays: Sequence[Array]) -> list[NDArray[Any]]:
        with self._turns:
            runner = self._free()
            try:
                return runner.run(arrays)
            finally:
                self._idle.put(runner)

    def _free(self) -> _Runner:
        """One that no other thread is running."""
        begun = time.monotonic()
        found: _Runner | None = None
        with suppress(Empty):
            found = self._idle.get(timeout=max(0.0, self._patience))
        self._patience -= time.monotonic() - begun
        return found or self._compile()


class _Runner:
    """A compiled graph for one thread at a time."""

    def __init__(self, model: Any, leftovers: _Leftovers) -> None:
        self._model, self._leftovers = model, leftovers
        self._request: Any = None
        self._is_new = True

    def run(self, arrays: Sequence[Array]) -> list[NDArray[Any]]:
        request = self._request or self._model.create_infer_request()
        given = [np.ascontiguousarray(array)[None] for array in arrays]  # tensors only point to them
        for number, array in enumerate(given):
            request.set_input_tensor(number, ov.Tensor(array, shared_memory=True))
        request.infer()
        found = [tensor.data[0].copy() for tensor in request.output_tensors]
        if sum(array.size for array in given) <= SMALL_INPUTS:
            self._request = request
        else:
            self._request = request = None
            self._model.release_memory()  # what lies between layers
        if self._is_new:
            self._is_new = False
            self._leftovers.note()
        else:
            self._leftovers.clear()
        return found


class _OpenVinoProgram:
    """A network, compiled by the process that calls it when it does: for the first sizes each, then for any size.

    Where all sizes are known, products are a quarter faster and layers share memory.
    """

    def __init__(
        self,
        graph: Callable[[], Any],
        inputs: Sequence[Input],
        settings: dict[str, Any],
        most: int,
        sizes: int,
        leftovers: _Leftovers,
    ) -> None:
        """`most` threads may run the network at the same time; others wait. The first `sizes` have their own graphs."""
        self._graph, self._inputs, self._settings = cache(graph), inputs, settings
        self._most, self._sizes_apart, self._leftovers = most, sizes, leftovers
        self._lock = threading.Lock()  # held only where no process is forked, so none begins with it locked
        self._process, self._compiled = os.getpid(), dict[Sizes | None, _Compiled]()

    def _begin(self) -> None:
        """In a forked process, begin with nothing. Call this with the lock: only the first thread may do it."""
        if self._process != os.getpid():
            _of_other_processes.append(self._compiled)
            self._process, self._compiled = os.getpid(), {}

    def __call__(self, *arrays: Array) -> list[NDArray[Any]]:
        with _at_work():
            sizes = tuple(array.shape for array in arrays)
            with self._lock:
                self._begin()
                compiled = self._for(sizes)
            return compiled(arrays)

    def is_ready(self, height: int, width: int) -> bool:
        """Whether nothing needs to be compiled for a network of this size."""
        return self._process == os.getpid() and not {self._sizes(height, width), None}.isdisjoint(self._compiled)

    def prepare(self, height: int, width: int) -> None:
        """Compile for a network of this size, unless another thread is compiling this one."""
        with _at_work():
            if self._lock.acquire(blocking=False):
                try:
                    self._begin()
                    self._for(self._sizes(height, width))
                finally:
                    self._lock.release()

    def _sizes(self, height: int, width: int) -> Sizes:
        return tuple(i.shape(height, width) for i in self._inputs)

    def _for(self, sizes: Sizes) -> _Compiled:
        """The compiled graph for inputs of these sizes."""
        key = sizes if sizes in self._compiled or len(self._compiled) < self._sizes_apart else None
        found = self._compiled.get(key)
        if found is None:
            graph = self._graph()
            if key is not None:
                graph = graph.clone()
                graph.reshape({i: [1, *size] for i, size in zip(graph.inputs, sizes, strict=True)})
            found = self._compiled[key] = _Compiled(graph, self._settings, self._most, self._leftovers)
        return found


class _Integers:
    """A network of integers: on NumPy at first, then compiled."""

    def __init__(self, at_first: Program, compiled: Callable[[], _OpenVinoProgram | None], uncompiled: int) -> None:
        """NumPy computes it at `uncompiled` positions, and everywhere if the engine can't: then `compiled` is None."""
        self._at_first, self._build, self._left = at_first, compiled, uncompiled

    @cached_property
    def _compiled(self) -> _OpenVinoProgram | None:
        return self._build()

    def __call__(self, *arrays: Array) -> list[NDArray[Any]]:
        if self._left <= 0 and self._compiled:
            return self._compiled(*arrays)
        with _at_work():  # a fork inside a product could copy a lock of the BLAS library
            found = self._at_first(*arrays)
        self._left -= len(found[0]) * found[0].shape[1]
        return found

    def expect(self, positions: int) -> None:
        """If this many are beyond what is left for NumPy, don't begin on it."""
        if positions > self._left:
            self._left = 0

    def is_ready(self, height: int, width: int) -> bool:
        return self._left > 0 or self._compiled is None or self._compiled.is_ready(height, width)

    def prepare(self, height: int, width: int) -> None:
        if self._compiled:
            self._compiled.prepare(height, width)


@contextmanager
def _at_work() -> Iterator[None]:
    """Inside the block, no process is forked, and a lack of memory in the engine raises `MemoryError`."""
    try:
        with gate().working():
            yield
    except RuntimeError as error:
        if _WANT.search(str(error)):
            raise MemoryError(str(error)) from error
        raise


class OpenVinoOperations:
    """`Operations` on OpenVINO's nodes."""

    def pointwise(self, x: Any, weight: Array, bias: Array | None = None) -> Any:
        convolution = op.convolution if weight.ndim == 2 else op.group_convolution
        y = convolution(x, _constant(weight[..., None, None]), [1, 1], [0, 0], [0, 0], [1, 1])
        return y if bias is None else op.add(y, _constant(bias[None, :, None, None]))

    def weighted(self, x: Any, weight: Any) -> Any:
        flat = op.matmul(weight, op.reshape(x, _integers(0, 0, -1), True), False, False)
        return op.reshape(flat, op.concat([_integers(1, -1), _size(x)], 0), False)

    def depthwise(self, x: Any, weight: Array, bias: Array) -> Any:
        y = op.group_convolution(x, _constant(weight[:, None, None]), [1, 1], [1, 1], [1, 1], [1, 1])
        return op.add(y, _constant(bias[None, :, None, None]))

    def constant(self, values: Array) -> Any:
        return _constant(values[None])

    def add(self, x: Any, y: Any) -> Any:
        return op.add(x, y)

    def multiply(self, x: Any, y: Any) -> Any:
        return op.multiply(x, y)

    def floor(self, x: Any) -> Any:
        return op.floor(x)

    def round(self, x: Any) -> Any:
        return op.round(x, "half_to_even")

    def bytes(self, x: Any) -> Any:
        return op.convert(x, "u8")

    def clip(self, x: Any, low: float, high: float) -> Any:
        return op.clamp(x, low, high)

    def leaky_relu(self, x: Any, slope: float) -> Any:
        return op.prelu(x, _constant(np.array([slope])))

    def space_to_depth(self, x: Any, size: int, *, places_first: bool = False) -> Any:
        return op.space_to_depth(x, "blocks_first" if places_first else "depth_first", size)

    def depth_to_space(self, x: Any, size: int, *, places_first: bool = False) -> Any:
        return op.depth_to_space(x, "blocks_first" if places_first else "depth_first", size)

    def enlarge(self, x: Any, times: int) -> Any:
        return _repeated(x, times, _HEIGHT, _WIDTH)

    def modulated(self, x: Any, factor: Any, shift: Any, times: int) -> Any:
        """Repeats them only along rows. Along columns, the sum and the product do that, which takes less memory.

        Channels are last in memory, so turning is free.
        """
        rows = op.slice(op.shape_of(factor), _integers(_HEIGHT), _integers(_WIDTH), _integers(1))

        def row_by_row(x: Any, repeated: int) -> Any:  # (rows, repeated, all values of a row)
            return op.reshape(_turned(x, 0, 2, 3, 1), op.concat([rows, _integers(repeated, -1)], 0), False)

        factor, shift = (row_by_row(_repeated(y, times, _WIDTH), 1) for y in (factor, shift))
        found = op.add(op.multiply(row_by_row(x, times), factor), shift)
        turned = _turned(x, 0, 2, 3, 1)
        return _turned(op.reshape(found, op.shape_of(turned), False), 0, 3, 1, 2)

    def bytes_of(self, x: Any, scale: Any, planes: Any) -> Any:
        x, planes = (_turned(y, 0, 2, 3, 1) for y in (x, planes))  # as they are in memory
        pixels = op.add(op.multiply(x, _turned(scale, 0, 2, 3, 1)), planes)
        levels = op.add(op.multiply(pixels, _constant(np.array([BYTE]))), _constant(np.array([BYTE_ZERO])))
        return _turned(op.clamp(levels, *BYTES), 0, 3, 1, 2)


def _shape(kind: Input) -> Any:
    side = ov.Dimension(1, MAX_SIDE)
    size = kind.size or (side, side)
    return ov.PartialShape([1, *size, kind.channels] if kind.channels_last else [1, kind.channels, *size])


def _repeated(x: Any, times: int, *axes: int) -> Any:
    """Every value repeated along these axes."""
    rule = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = np.full(len(axes), times, np.float32)
    return op.interpolate(x, scales, "nearest", "scales", axes=np.array(axes), **rule)


def _turned(x: Any, *axes: int) -> Any:
    """Axes in another order. Turned back, it is the tensor from before: OpenVINO wouldn't always leave both out."""
    node = x.get_node() if isinstance(x, ov.Output) else x
    if node.get_type_name() == "Transpose":
        before = node.input_value(1).get_node().get_vector()
        if [int(before[axis]) for axis in axes] == sorted(axes):
            return node.input_value(0)
    return op.transpose(x, _integers(*axes))


def _constant(values: NDArray[Any]) -> Any:
    return op.constant(np.ascontiguousarray(values, np.float32))


def _integers(*values: int) -> Any:
    return op.constant(np.array(values, np.int64))


def _size(x: Any) -> Any:
    """The height and width of a tensor."""
    return op.slice(op.shape_of(x), _integers(_HEIGHT), _integers(_RANK), _integers(1))
