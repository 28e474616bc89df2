"""`thaw.KerasLayer`: an artifact as a Keras model whose inner layers are the publisher's.

It owns the variables (in inner layers named by the publisher's scopes), chooses the variant of the program that a call needs,
and runs it by the op table. What trains is flags on its inner layers' weights; see `thaw.inner`. Imports every room below it.
"""

import os
import warnings
import weakref
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np

from thaw import load
from thaw.boundary import (
    as_output,
    compose,
    declare,
    free_lengths,
    is_string_dtype,
    numpy_strings,
    shapes_to_symbols,
    surplus,
    tuples,
    with_lengths,
)
from thaw.errors import HubArgumentError, StaticInputError, ThawError, WeightsMissingError, listed
from thaw.graph.artifact import Artifact, VariableSource
from thaw.graph.ir import Graph, TensorSpec
from thaw.graph.lift_constants import lift_constants as lift
from thaw.graph.partial import Wanted
from thaw.graph.program import Program, Variant, input_structures, leaves, rebuild, tensors
from thaw.inner import InnerLayer, TrainableTree, Weight, _Holder, add_source, scopes, variable_dtype
from thaw.lowering.packing import Pack, pack
from thaw.lowering.run import Context
from thaw.lowering.values import held
from thaw.runtime import Choice, Policy, Runtime, choose
from thaw.taps import Tapped
from thaw.text_door import open_door
from thaw.trainable.watch import obey_automatically

BATCH_NORM = ("auto", "frozen", "training")


@keras.saving.register_keras_serializable(package="thaw")
class KerasLayer(Tapped, TrainableTree, keras.Model):  # type: ignore[misc]
    """A pretrained artifact as a Keras layer (and model): the drop-in for `hub.KerasLayer`, on any backend.

    Args:
        handle: folder, file or address of a TF1 Hub module, TF2 SavedModel, plain TF1 SavedModel or frozen graph.
        trainable: whether the weights that the publisher meant to be trained do train. Each inner layer has its own flag
            besides; it may change at any time.
        arguments: further arguments of the callable, as a dict of Python values or tensors (hyperparameters).
        tags: tags of the metagraph, for artifacts that have several; None for the one that serves.
        signature: name of the signature (or of another callable of the artifact) to call; None for `__call__` where there is one,
            else the default signature.
        signature_outputs_as_dict: whether a signature's outputs come as a dict (else `output_key` picks one).
        output_key: name of the output that is returned.
        output_shape: shape of the output without the batch axis, a tuple or a nest of them, where the artifact does not say.
        batch_norm: "auto": a moving statistic moves in a training step if its inner layer trains, and stays (and is what is
            normalized by) if not. "frozen": it never moves. "training": it moves in every training step, also where the artifact
            has no training variant.
        max_iterations: bound on the rounds of a loop whose trip count follows neither from shapes nor from constants; needed to
            differentiate such a loop under JAX.
        outputs: tensors from the middle of the graph to return instead: a node's name, the end of it, or a glob that matches one
            (`thaw inspect --tensors` lists them); several as a list, or as a dict under keys of their own. Weights that are not
            needed then are not loaded.
        inputs: tensors from the middle of the graph to feed instead, named likewise: the graph before them is cut away, with its
            weights. The layer then takes that one tensor, or a list or dict of them.
        free_sizes: whether inputs may have other lengths than the publisher fixed (image size, length of a series, the batch), on
            every axis but the last. Where an op does not go along, the first call says which, and what sizes are allowed.
        lift_constants: whether weights that were baked into the graph as constants (frozen graphs; some SavedModels) become
            variables that train. Without it the large ones of a frozen graph are variables that train only if thawed by name.
        batch_norm_momentum: what a moving statistic keeps of itself a step, where the artifact has no training variant to say so.
        dropout: rate of the dropout in training steps, where the artifact has no training variant: at the places where its
            exporter left an identity of it, else on the outputs.
        remat: memory for time. True: a training step keeps only what crosses the borders of segments, about as many as the square
            root of the number of ops, and computes the activations within them again for their gradients. An int: that many.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype` (a policy; the dtype of strings, as hub users pass, is understood).

    Raises:
        HandleError: nothing is there.
        FormatError: it cannot be read.
        UnsupportedOpsError: it cannot run; every missing op is named.
        HubArgumentError: the arguments contradict one another or the artifact.

    Example:
        >>> layer = thaw.KerasLayer("path/to/module", trainable=True)
        >>> model = keras.Sequential([layer, keras.layers.Dense(5)])

    Source: tensorflow_hub/keras_layer.py, whose arguments it takes.
    """

    _thaw_live = True

    def __init__(
        self,
        handle: str | os.PathLike[str],
        trainable: bool = False,
        arguments: dict[str, Any] | None = None,
        tags: Collection[str] | None = None,
        signature: str | None = None,
        signature_outputs_as_dict: bool | None = None,
        output_key: str | None = None,
        output_shape: Any = None,
        *,
        batch_norm: str = "auto",
        max_iterations: int | None = None,
        outputs: Wanted | None = None,
        inputs: Wanted | None = None,
        free_sizes: bool = False,
        lift_constants: bool = False,
        batch_norm_momentum: float = 0.99,
        dropout: float = 0.0,
        remat: bool | int = False,
        load_options: Any = None,
        **kwargs: Any,
    ) -> None:
        if batch_norm not in BATCH_NORM:
            raise HubArgumentError(f"`batch_norm` is {batch_norm!r}", f"one of {listed(BATCH_NORM)}", "Pass one of these")
        if not isinstance(remat, int) or remat < 0:
            raise HubArgumentError(f"`remat` is {remat!r}", "True, False, or a number of segments", "Pass one of these")
        trained = kwargs.pop("_trained", None)
        embedded = kwargs.pop("_artifact", None)
        sharing: KerasLayer | None = kwargs.pop("_sharing", None)
        relaxed = [(what, how) for what, how in kwargs.pop("_relaxed", ())]
        kwargs.pop("input_shape", None)
        kwargs.pop("batch_input_shape", None)
        dtype = kwargs.pop("dtype", None)
        super().__init__(dtype=None if is_string_dtype(dtype) else dtype, **kwargs)
        self.handle = os.fspath(handle)
        self.arguments = dict(arguments or {})
        self.tags = sorted(tags) if tags is not None else None
        self.signature = signature
        self.signature_outputs_as_dict = signature_outputs_as_dict
        self.output_key = output_key
        self.declared_output_shape = output_shape
        self.batch_norm = batch_norm
        self.max_iterations = max_iterations
        self.outputs_wanted = outputs
        self.inputs_wanted = inputs
        self.free_sizes = free_sizes
        self.lift_constants = lift_constants
        self.batch_norm_momentum = batch_norm_momentum
        self.dropout = dropout
        self.remat = remat
        self.relaxed: list[tuple[str, str]] = relaxed
        self._train_statistics = False
        self._holder = _Holder()
        self._convert_input_args = False  # strings are not for the backend; `call` converts what is
        self._allow_non_tensor_positional_args = True
        with load.uncollected():
            if sharing is not None:
                artifact, pending = sharing._runtime.artifact, sharing._runtime.pending
            else:
                artifact, pending = load.open_again(self.handle, embedded)
                artifact = lift(artifact, everything=lift_constants)
            choice = Choice(
                self.arguments,
                self.tags,
                signature,
                signature_outputs_as_dict,
                output_key,
                outputs,
                inputs,
                free_sizes,
            )
            self._runtime: Runtime = choose(artifact, choice)
            self._runtime.pending = pending
            self._warn_of_lost(stacklevel=3)
            self._inner = self._build_tree({} if sharing is None else sharing._runtime.weights)
            if sharing is not None:
                self._runtime.losses = None  # they hang on the variables already
            for leaf in self._leaves():
                leaf._holder.owner = weakref.ref(self)
            self.seed_generator = keras.random.SeedGenerator()
            self._runtime.start(self.compute_dtype)
        if self.takes_strings:
            open_door()
            # XLA cannot call the host from a tf.function; JAX's own jit can.
            self.supports_jit = keras.backend.backend() != "tensorflow"
        self.built = True
        if trained is None:
            self.trainable = trainable
        else:
            names = set(trained)
            for weight in self._runtime.weights.values():
                weight.variable.trainable = weight.source.name in names

    # Making

    def _warn_of_lost(self, *, stacklevel: int) -> None:
        if self._runtime.program.lost:
            warnings.warn(
                f"{self.handle!r} has no {listed(self._runtime.program.lost)} in its graph for training: training steps run the "
                "graph that serves, whose moving statistics stay and whose dropout is absent.",
                stacklevel=stacklevel,
            )

    def _build_tree(self, shared: Mapping[str, Weight]) -> list[InnerLayer]:
        """Makes the inner layers and their variables; those of `shared`, by key, are another layer's."""
        runtime = self._runtime
        statistics = runtime.statistics()
        tree = scopes(runtime.sources(only_used=self._is_piece))

        def value(source: VariableSource) -> Any:
            return np.zeros(source.shape, variable_dtype(source, self.variable_dtype)) if runtime.pending else source.read()

        def add(layer: Any, leaf: str, source: VariableSource) -> None:
            statistic = source.key in statistics
            dtype = variable_dtype(source, self.variable_dtype)
            variable = add_source(
                layer,
                source,
                leaf,
                dtype=dtype,
                advised=source.trainable,
                statistic=statistic,
                value=lambda: value(source),
                shared=shared[source.key].variable if source.key in shared else None,
            )
            runtime.owners[source.key] = layer
            runtime.weights[source.key] = layer._holder.weights[-1]
            runtime.resources.variables[source.key] = variable

        def build(scope: Any) -> list[InnerLayer]:
            made = []
            for child in scope.below.values():
                layer = InnerLayer(child.name, child.path, dtype=self.dtype_policy)
                for leaf, source in child.sources:
                    add(layer, leaf, source)
                with keras.name_scope(child.name):  # a weight's path is the path of its scope
                    layer._inner = build(child)
                made.append(layer)
            return made

        for leaf, source in tree.sources:
            add(self, leaf, source)
        return build(tree)

    # Flags

    @property
    def _own(self) -> list[Weight]:
        return self._holder.weights

    def _set_trainable(self, value: bool) -> None:
        self._set_leaves(value, follow_advice=True)
        if value and not self.trainable and not self._runtime.warned:
            self._runtime.warned = True
            warnings.warn(
                f"The layer {self.name!r} was set to train, but its publisher left nothing to train in {self.handle!r} "
                f"({len(self._runtime.weights)} variables, none advised). Thaw what you want by name: "
                f'`thaw.unfreeze(layer, "*")`, or `layer.get_layer(name).trainable = True`.',
                stacklevel=4,
            )

    def _frozen_keys(self, variant: Variant) -> frozenset[str]:
        """Keys of what a training step must not move: statistics whose inner layer does not train."""
        if self.batch_norm == "training":
            return frozenset()
        keys = {u.key for u in variant.updates}
        if self.batch_norm == "frozen":
            return frozenset(u.key for u in variant.updates if u.statistic is not None) | self._frozen_by_owner(keys)
        return self._frozen_by_owner(keys)

    def _frozen_by_owner(self, keys: set[str]) -> frozenset[str]:
        owners = self._runtime.owners
        return frozenset(k for k in keys if k in owners and not _trains(owners[k]))

    # Calling

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Runs the program.

        Args:
            inputs: what the signature or `__call__` takes: a tensor, a dict by name, or a list; strings as numpy arrays.
            training: whether this is a training step; the publisher's training graph then runs, if anything in the layer trains.

        Returns:
            What the publisher's function returns: a tensor, dict or list; of a signature, the chosen output or a dict.

        Raises:
            InputError: the inputs do not fit; says what was expected.
        """
        runtime = self._runtime
        training = bool(training) and self.trainable
        variant, graph, feeds, texts = self.prepared(inputs, training)
        context = Context(
            runtime.resources,
            training=training,
            compute_dtype=self.compute_dtype,
            seed_generator=self.seed_generator,
            max_iterations=self.max_iterations,
            remat=self.remat,
        )
        if texts:
            values = runtime.text_program(graph, texts).run(context, feeds)
        else:
            values = runtime.resources.plan(graph, self.compute_dtype).run(context, feeds)
        given = list(tensors(variant.trace.outputs))
        shapes = [spec.shape for spec in given] if len(given) == len(values) else [None] * len(values)
        answers = iter([as_output(v, shape) for v, shape in zip(values, shapes, strict=True)])
        outputs = rebuild(variant.trace.outputs, answers, compose)
        return self._pick(outputs)

    def prepared(self, inputs: Any, training: bool) -> tuple[Variant, Graph, list[Any], list[int]]:
        """What a call runs: the variant, its graph with the user's policies, what is fed to it, and which of that are strings.

        Raises:
            InputError: the inputs do not fit; says what was expected.
        """
        runtime = self._runtime
        if runtime.pending:
            self._check_restored()
        variant, flat = runtime.program.select(self._bind(inputs), training)
        policy = Policy(training, self.batch_norm, self.batch_norm_momentum, self.dropout, tuple(self.relaxed))
        frozen = self._frozen_keys(variant) if training and runtime.program.has_training_variant else frozenset()
        graph = runtime.graph(variant, frozen, policy)
        runtime.check_sizes(variant.inference, variant, flat)
        specs = [spec for s in input_structures(runtime.program, variant) for spec in tensors(s)]
        feeds = [self._feed(value, spec) for value, spec in zip(flat, specs, strict=True)]
        return variant, graph, feeds, [i for i, spec in enumerate(specs) if spec.dtype == "string"]

    def _bind(self, inputs: Any) -> dict[str, Any]:
        """The inputs by parameter (callables) or input name (signatures), with `arguments` beside them."""
        program = self._runtime.program
        inputs = keras.tree.map_structure(numpy_strings, inputs)
        if not program.is_signature:
            return {program.parameters[0].name: inputs, **self.arguments}
        names = list(program.variants[0].trace.kwargs)
        arguments = self.arguments  # of those of a whole callable, a piece of it may not need all
        if self.inputs_wanted is not None:
            arguments = {name: value for name, value in arguments.items() if name in names}
        if isinstance(inputs, Mapping):
            return {**inputs, **arguments}
        if isinstance(inputs, (list, tuple)) and len(names) != 1:
            free = [n for n in names if n not in arguments]
            return {**dict(zip(free, inputs, strict=False)), **arguments, **surplus(free, inputs)}
        free = [n for n in names if n not in arguments] or names
        if len(free) > 1:
            return {free[0]: inputs, **arguments}
        return {free[0] if free else "inputs": inputs, **arguments}

    def _feed(self, value: Any, spec: TensorSpec) -> Any:
        """`value` as the graph takes it: strings stay numpy, numbers go to the device in the spec's dtype."""
        if spec.dtype == "string":  # packed bytes that went through a float Input are bytes again
            is_packed = keras.ops.is_tensor(value) and "string" not in str(value.dtype)
            return keras.ops.cast(value, "uint8") if is_packed else value
        dtype = held(self.compute_dtype if spec.dtype == "float32" else spec.dtype)
        if not keras.ops.is_tensor(value):
            return keras.ops.convert_to_tensor(np.asarray(value), dtype=dtype)
        return value if keras.backend.standardize_dtype(value.dtype) == dtype else keras.ops.cast(value, dtype)

    def _pick(self, outputs: Any) -> Any:
        """The chosen output of a signature's dict."""
        if self.outputs_wanted is not None:
            return outputs
        if self.output_key is not None:
            return outputs[self.output_key]
        if self._runtime.signature is not None and not self.signature_outputs_as_dict and isinstance(outputs, dict):
            if self._runtime.artifact.format == "tf1_hub" and "default" in outputs:
                return outputs["default"]
            if len(outputs) == 1:
                return next(iter(outputs.values()))
        return outputs

    def _check_restored(self) -> None:
        runtime = self._runtime
        restored = self._holder.restored or any(leaf._holder.restored for leaf in self._leaves())
        if not restored and not any(np.any(keras.ops.convert_to_numpy(w.variable)) for w in runtime.weights.values()):
            raise WeightsMissingError(self.name, self.handle)
        runtime.pending = False

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Dtypes and shapes of the outputs, from the artifact's own declaration; traced where it does not say."""
        program = self._runtime.program
        variant, flat = program.select(self._bind(inputs), False)
        specs = list(leaves(variant.trace.outputs))
        known = all(isinstance(s, TensorSpec) and s.shape is not None and None not in s.shape[1:] for s in specs)
        numeric = all(spec.dtype != "string" for s in input_structures(program, variant) for spec in tensors(s))
        if not known and numeric and self.declared_output_shape is None:
            pending, self._runtime.pending = self._runtime.pending, False  # shapes do not need the weights
            try:
                return self._traced_spec(inputs)
            except TypeError as error:  # Keras makes a new error of the same class, from one text; ours want their parts
                if isinstance(error.__context__, ThawError):
                    raise error.__context__ from None
                raise
            finally:
                self._runtime.pending = pending
        self._warn_of_lost(stacklevel=3)
        batch = next((v.shape[0] for v in flat if len(getattr(v, "shape", ())) > 0), None)
        compute = self.compute_dtype

        def symbol(spec: Any) -> Any:
            shape = tuple(spec.shape or (None,))
            if shape and shape[0] is None:
                shape = (batch, *shape[1:])
            return keras.KerasTensor(shape, dtype=compute if spec.dtype == "float32" else spec.dtype)

        outputs = rebuild(variant.trace.outputs, iter([symbol(s) for s in specs]), lambda spec, parts: parts[0])
        return self._declared(self._pick(outputs), batch)

    def _traced_spec(self, inputs: Any) -> Any:
        """Outputs by tracing; where a graph wants free lengths in numbers, with two numbers for each: what differs is free."""
        trace = keras.Operation.compute_output_spec
        try:
            return trace(self, inputs, training=False)
        except StaticInputError:
            if not any(None in getattr(t, "shape", ()) for t in keras.tree.flatten(inputs)):
                raise
        few, more = (trace(self, with_lengths(inputs, length), training=False) for length in (3, 5))
        return keras.tree.map_structure(free_lengths, few, more)

    def _declared(self, outputs: Any, batch: int | None) -> Any:
        """`outputs` with the shapes that the user declared."""
        if self.declared_output_shape is None:
            return outputs
        return declare(outputs, self.declared_output_shape, batch)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shapes of the outputs for inputs of that shape (a tuple, list, or nest of them)."""
        program = self._runtime.program
        structures = input_structures(program, program.variants[0])
        dtypes = iter([spec.dtype for s in structures for spec in tensors(s)])
        inputs = shapes_to_symbols(input_shape, dtypes)
        return keras.tree.map_structure(lambda t: tuple(t.shape), self.compute_output_spec(inputs))

    # Looking inside

    @property
    def _is_piece(self) -> bool:
        """Whether it runs a piece of the graph only."""
        return self.outputs_wanted is not None or self.inputs_wanted is not None

    @property
    def program(self) -> Program:
        """The entry point that this layer runs, with its variants."""
        return self._runtime.program

    @property
    def takes_strings(self) -> bool:
        """Whether an input of the program is strings."""
        variant = self.program.serving_variants[0]
        return any(spec.dtype == "string" for s in input_structures(self.program, variant) for spec in tensors(s))

    def preprocess(self, texts: Any) -> np.ndarray:
        """Strings as numbers, for data pipelines: what `fit` and the layer take in their place on every backend.

        Args:
            texts: array or list of strings, of the shape that the layer takes.

        Returns:
            uint8 of the texts' shape and two more axes (tokens, bytes): rows stay rows under shuffling and batching, and how many
            tokens a compiled step makes room for is said by the shape. Pack a whole data set at once, or texts of like length.
            Where the layer gives a row a token, a step compiled by JAX gives as many rows as the longest of all texts packed
            together has (other backends: the longest of the batch), and the rows past the end of a text are what TensorFlow
            gives for it beside a longer one. Each such length is compiled for once.

        Raises:
            HubArgumentError: the layer takes no strings.
        """
        return self.encoded(texts, pack)

    def encoded(self, texts: Any, pack: Pack) -> np.ndarray:
        """As `preprocess`, by way of `pack`."""
        if not self.takes_strings:
            raise HubArgumentError(
                f"The layer {self.name!r} takes no strings",
                f"a text module; this one takes {self.program.describe()}",
                "Feed it that",
            )
        variant = self.program.serving_variants[0]
        specs = [spec for s in input_structures(self.program, variant) for spec in tensors(s)]
        positions = [i for i, spec in enumerate(specs) if spec.dtype == "string"]
        given = self._pick(rebuild(variant.trace.outputs, leaves(variant.trace.outputs), lambda spec, parts: parts[0]))
        long = any(isinstance(s, TensorSpec) and None in (s.shape or ())[1:] for s in keras.tree.flatten(given))
        return self._runtime.text_program(variant.inference, positions).encode_strings(
            numpy_strings(texts), exact=long, pack=pack
        )

    def preprocessed_input(self) -> Any:
        """A Keras `Input` for what `preprocess` gives, of a module with one input of strings."""
        variant = self.program.serving_variants[0]
        (spec,) = [spec for s in input_structures(self.program, variant) for spec in tensors(s)]
        return keras.Input((*(spec.shape or (None,))[1:], None, None), dtype="uint8", name="texts")

    @property
    def source_variables(self) -> dict[str, Any]:
        """The artifact's own variable names -> Keras variables."""
        return {weight.source.name: weight.variable for weight in self._runtime.weights.values()}

    @property
    def resolved_object(self) -> Artifact:
        """The artifact as read: signatures, functions, variables, assets."""
        return self._runtime.artifact

    @property
    def build_model(self) -> "KerasLayer":
        """The underlying Keras model: this layer, whose `.layers` are the publisher's inner layers."""
        return self

    def __dir__(self) -> list[str]:
        """Without `build_model`: Keras' saver walks `dir` and would follow that reference to itself without end."""
        return [name for name in super().__dir__() if name != "build_model"]

    def asset(self, name: str) -> bytes:
        """The content of the asset file of that name.

        Raises:
            HubArgumentError: there is none; says which there are.
        """
        files = self._runtime.artifact.files
        for key in (name, f"assets/{name}"):
            if key in files:
                return files[key]
        there = [key for key in files if key.startswith("assets/")]
        raise HubArgumentError(f"There is no asset {name!r}", f"one of {listed(there)}", "Pass one of these")

    # Saving

    def get_config(self) -> dict[str, Any]:
        """All that makes the layer again, its graph included, so that a saved model does not need the handle."""
        base = keras.layers.Layer.get_config(self)
        trained = [w.source.name for w in self._runtime.weights.values() if w.variable.trainable]
        return {
            "name": base["name"],
            "dtype": base["dtype"],
            "handle": self.handle,
            "trainable": self.trainable,
            "arguments": self.arguments,
            "tags": self.tags,
            "signature": self.signature,
            "signature_outputs_as_dict": self.signature_outputs_as_dict,
            "output_key": self.output_key,
            "output_shape": self.declared_output_shape,
            "batch_norm": self.batch_norm,
            "max_iterations": self.max_iterations,
            "outputs": self.outputs_wanted,
            "inputs": self.inputs_wanted,
            "free_sizes": self.free_sizes,
            "lift_constants": self.lift_constants,
            "batch_norm_momentum": self.batch_norm_momentum,
            "dropout": self.dropout,
            "remat": self.remat,
            "relaxed": [list(rule) for rule in self.relaxed],
            "trained": trained,
            "artifact": load.embed(self._runtime.artifact),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "KerasLayer":
        """The layer of `get_config`: from its handle where that is still there, else from the graph in the config."""
        config = dict(config)
        packed = config.pop("artifact", None)
        trained = config.pop("trained", None)
        relaxed = config.pop("relaxed", ())
        config["output_shape"] = tuples(config.get("output_shape"))
        return cls(_artifact=packed, _trained=trained, _relaxed=relaxed, **config)

    def load_own_variables(self, store: Any) -> None:
        """Restores the weights that lie at the root."""
        super().load_own_variables(store)
        self._holder.restored = True


def _trains(layer: Any) -> bool:
    """Whether the inner layer that holds a statistic trains: by its weights, or by its flag where it has none."""
    weights = [w for w in layer._own if not w.statistic]
    return any(w.variable.trainable for w in weights) if weights else bool(layer._train_statistics)


# On import, and not when the first layer is made: `keras.saving.load_model` must give flags and moments back too.
obey_automatically()
