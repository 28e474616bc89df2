"""Symbolic tensors of a `thaw.KerasLayer`: what goes in, what comes out, and what its inner layers answer with.

`keras.Model(layer.input, layer.get_layer(x).output)` is written here as with any Keras model. Mixed into the layer; knows of it
what `thaw.runtime` says, and its constructor.
"""

from collections.abc import Callable
from typing import Any

import keras

from thaw.boundary import symbolic_inputs
from thaw.errors import UnknownTensorError
from thaw.graph.partial import Wanted, output_of_scope, tappable
from thaw.inner import InnerLayer
from thaw.runtime import Runtime


class Tapped:
    """`input`, `output` and `tap` of a layer that has a runtime."""

    _runtime: Runtime
    arguments: dict[str, Any]
    relaxed: list[tuple[str, str]]
    inputs_wanted: Wanted | None
    get_config: Callable[[], dict[str, Any]]
    __call__: Callable[..., Any]

    @property
    def input(self) -> Any:
        """Symbolic inputs: those of the layer's first call, else Keras Inputs as the artifact describes them.

        With them, `keras.Model(layer.input, layer.get_layer(x).output)` is a feature extractor.
        """
        try:
            return keras.layers.Layer.input.fget(self)
        except (AttributeError, ValueError):  # never called
            pass
        runtime = self._runtime
        if runtime.symbols is None:
            program, trace = runtime.program, runtime.program.serving_variants[0].trace
            given = program.bound(trace)
            if program.is_signature:
                free = {name: spec for name, spec in given.items() if name not in self.arguments}
                runtime.symbols = symbolic_inputs(next(iter(free.values())) if len(free) == 1 else free)
            else:
                runtime.symbols = symbolic_inputs(given[program.parameters[0].name])
        return runtime.symbols

    @property
    def output(self) -> Any:
        """Symbolic outputs: those of the layer's first call, else of a call on `input`."""
        try:
            return keras.layers.Layer.output.fget(self)
        except (AttributeError, ValueError):  # never called
            return self(self.input)

    def _output_of(self, inner: InnerLayer) -> Any:
        """What `inner` answers with, computed from `input`; the same tensor each time."""
        runtime, inputs = self._runtime, self.input
        cached = runtime.taps.get(inner.source_path)
        if cached is not None and cached[0] is inputs:
            return cached[1]
        keys = {w.source.key for leaf in inner._leaves() for w in leaf._own}
        others = [w.source.name for w in runtime.weights.values() if w.source.key not in keys]
        parts = inner.source_path.split("/")
        paths = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
        paths = [p for p in paths if p == inner.source_path or not any(f"{o}/".startswith(f"{p}/") for o in others)]
        name = output_of_scope(runtime.whole, paths, keys)
        if name is None:
            raise UnknownTensorError(inner.source_path, [node.name for node in tappable(runtime.whole)])
        runtime.taps[inner.source_path] = (inputs, self.tap(name)(inputs))
        return runtime.taps[inner.source_path][1]

    def tap(self, outputs: Wanted | None = None, inputs: Wanted | None = None) -> Any:
        """A piece of this layer that shares its weights: what one trains, the other uses.

        Args:
            outputs: tensors to return, as for the constructor.
            inputs: tensors to feed, likewise.

        Raises:
            SelectionError: a name picks nothing, or nothing that can run.

        Example:
            >>> features = layer.tap(["*block_3_add/add", "*block_6_add/add"])
        """
        config = {k: v for k, v in self.get_config().items() if k not in {"artifact", "trained", "relaxed", "name"}}
        if outputs is not None:
            config |= {"output_key": None, "signature_outputs_as_dict": None, "output_shape": None}
        config |= {"outputs": outputs, "inputs": inputs if inputs is not None else self.inputs_wanted}
        trained = [w.source.name for w in self._runtime.weights.values() if w.variable.trainable]
        make: Any = type(self)
        return make(**config, _trained=trained, _relaxed=self.relaxed, _sharing=self)
