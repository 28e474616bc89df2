"""Runs a graph that takes strings: its host part in numpy, its device part on the backend, also inside a compiled step.

Eagerly (and on PyTorch always) the host part just runs, and every number that it gives has the size that TensorFlow would give
it. Inside a step that JAX compiles, sizes must not depend on the texts. There a batch is made longer by one text of filler
words: TensorFlow itself would pad every other text to it, or append its tokens, and so the sizes follow from the number of filler
words alone; what belongs to the filler is cut off. No op has to know about padding. Inside a tf.function sizes may stay unknown.
Imports numpy and keras; the callbacks into Python are in kernels.py.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from thaw.errors import HostPaddingError, ThawError
from thaw.graph.ir import Graph, Node
from thaw.graph.prune import bodies
from thaw.graph.split_host import OpNeeds, split_host, touches_strings
from thaw.lowering.kernels import call_host, in_compiled_step
from thaw.lowering.packing import TOKEN, Pack, bucket, count_tokens, is_trial, pack, token_counts, unpack
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import Context, Resources
from thaw.lowering.strings import Strings, as_strings, strings
from thaw.lowering.values import Value, cast, dtype_of, is_host
from thaw.lowering.words import WordPlan, Words, kept_words

MAX_SIZES = 16
"""More numbers than this are no shape."""

MAX_HELD = 256
"""Texts of which it is remembered how much room they need, so that an epoch of `train_on_batch` after the first asks nothing."""

PORTABLE = frozenset(f"thaw.lowering.{family}" for family in ("lookup", "control_flow", "tensor_array", "tensor_list", "array"))
"""Families whose ops have a state or an effect, but not one that binds them to the device."""

SIZED_BY_VALUES = {"Where": 0, "DynamicPartition": 1, "RaggedTensorToTensor": 3, "RaggedGather": 0, "RaggedTensorToVariant": 0}
"""Ops whose outputs have as many elements as their inputs' values say, and the first of those inputs."""

FILLERS = ((b"a", True), (b"1", True), (b"1", False), (b"a", False), (b"", False))
"""Words that a graph may accept as text, and whether several of them are a text too; tried in this order. No bytes at all are an
empty tf.train.Example."""


def needs(node: Node, library: Mapping[str, Graph]) -> OpNeeds:
    """What a node asks of its place, by its lowering and, for loops and branches, by their bodies."""
    lowering = LOWERINGS.get(node.op)
    if lowering is None:
        return OpNeeds()
    portable = lowering.function.__module__ in PORTABLE
    host, device = lowering.host or lowering.function.__module__ == "thaw.lowering.lookup", lowering.stateful and not portable
    for body in bodies(node, library):
        inner = [needs(n, library) for n in body.nodes.values()]
        host = host or any(n.host for n in inner) or any(map(touches_strings, body.nodes.values()))
        device = device or any(n.device for n in inner)
    known = tuple(i for i, name in enumerate(lowering.inputs) if name in lowering.static)
    if node.op in SIZED_BY_VALUES:
        known = tuple(range(SIZED_BY_VALUES[node.op], len(node.inputs)))
    return OpNeeds(host=host, device=device and not lowering.host, known=known)


@dataclass(frozen=True, slots=True)
class Frame:
    """The sizes for which a step is compiled.

    Attributes:
        words: how many filler words the added text has at most, for each input of the host part.
        full: the shapes that the host part gives for the longer batch.
        shapes: those that the compiled step takes: the same, or with what belongs to the filler cut off.
        dtypes: of the boundary.
        sizes: the values of the boundary tensors that decide shapes in the compiled step, None elsewhere.
        full_sizes: those of the longer batch.
        appended: whether tokens are appended (the device sees the longer batch) rather than texts padded.
    """

    words: tuple[int, ...]
    full: tuple[tuple[int, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    sizes: tuple[np.ndarray | None, ...]
    full_sizes: tuple[np.ndarray | None, ...]
    appended: bool


class TextProgram:
    """A graph some of whose inputs are strings, split and ready to run on any backend.

    Args:
        graph: without unconditional calls (see thaw.graph.inline_functions).
        resources: its variables, tables and files; tables must have been initialised before the first run.
        string_inputs: positions among `graph.inputs` of the strings.
    """

    def __init__(self, graph: Graph, resources: Resources, string_inputs: Sequence[int]) -> None:
        self.graph = graph
        self.resources = resources
        self.string_inputs = tuple(string_inputs)
        self.split = split_host(graph, resources.library, needs, self.string_inputs)
        self._frames: dict[Any, Frame] = {}
        self._fillers: list[tuple[bytes, bool]] = []
        self._filled: dict[int, list[tuple[int, ...]]] = {}  # the boundary's shapes for one text of so many filler words
        self._trial_text = b""  # stands for the batch with which Keras tries out a model on PyTorch
        self._word_plan: WordPlan | None = None  # made when texts come by number
        self._held: dict[tuple[bytes, int], bool] = {}
        self._missed: dict[int, int] = {}  # by how many words the first guess of a frame's filler was short, last time

    # What data pipelines use

    def preprocess(self, inputs: Sequence[Value]) -> list[np.ndarray]:
        """The boundary tensors, in numpy, for all `inputs` of the graph (strings as `as_strings` takes them)."""
        given = [self._as_host(i, value) for i, value in enumerate(inputs)]
        return self._host([given[i] for i in self.split.host_inputs])

    def encode_strings(self, values: Any, *, exact: bool = False, pack: Pack = pack) -> np.ndarray:
        """Strings as uint8 (..., tokens, width), with room for as many tokens as this graph makes of the longest of them.

        Args:
            values: the strings.
            exact: no room beyond that, because it would be seen in the outputs; else a few numbers of tokens serve all lengths.
            pack: what turns them into numbers, once the tokens are counted.
        """
        array = as_strings(values)
        texts = array.ravel().tolist()
        tokens = bucket(count_tokens(texts))
        compiled = keras.backend.backend() == "jax"  # elsewhere no step is made for a number of tokens
        if len(self.string_inputs) == 1 and array.ndim == 1 and texts:
            longest = max(texts, key=len)
            counted = self._counted(texts, longest) if exact else None
            if counted is not None:
                tokens, self._trial_text = counted
            else:
                while compiled and tokens <= len(longest) and not self._holds(longest, tokens):
                    tokens = bucket(tokens + 1)
        return pack(array, tokens)

    def _counted(self, texts: list[bytes], longest: bytes) -> tuple[int, bytes] | None:
        """The most words in a text, and that text; None where it is not seen at once how the graph counts words."""
        for words in (bytes.split, TOKEN.findall):
            counts = {text: len(words(text)) for text in texts}
            most = max(texts, key=counts.__getitem__)
            if all(self._makes(text, counts[text]) for text in {most, longest, texts[0], texts[-1]} if counts[text]):
                return counts[most] or 1, most
        return None

    def _makes(self, text: bytes, words: int) -> bool:
        """Whether the graph makes of `text` what it makes of so many filler words."""
        try:
            filled, real = (self._host_on_texts([t]) for t in (self._filling(0, words), text))
        except ThawError:
            return False
        return [v.shape for v in filled] == [v.shape for v in real]

    def _holds(self, text: bytes, words: int) -> bool:
        """Whether `words` filler words make at least as many tokens as `text`, seen in every size of the boundary."""
        if (text, words) not in self._held:
            if len(self._held) >= MAX_HELD:
                self._held.clear()
            self._held[text, words] = self._asked_whether_holds(text, words)
        return self._held[text, words]

    def _asked_whether_holds(self, text: bytes, words: int) -> bool:
        try:
            if words not in self._filled:
                self._filled[words] = [v.shape for v in self._host_on_texts([self._filling(0, words)])]
            real = self._host_on_texts([text])
        except ThawError:
            return True  # other inputs are needed; the step itself will tell
        return all(f >= r for a, b in zip(self._filled[words], real, strict=True) for f, r in zip(a, b.shape, strict=True))

    def _host_on_texts(self, texts: list[bytes]) -> list[np.ndarray]:
        if len(self.split.host_inputs) != 1:
            raise HostPaddingError("its host part takes more than strings")
        return self._host([strings(texts)])

    # What the layer calls

    def run(self, context: Context, inputs: Sequence[Value]) -> list[Value]:
        """The outputs for `inputs`, in the order of `graph.inputs`.

        Strings may come as arrays of strings, as packed uint8 (`encode_strings`), or as TensorFlow's string tensors.

        Raises:
            HostPaddingError: under jit, the batch does not fit the sizes that the step was compiled for.
        """
        host_inputs = [inputs[i] for i in self.split.host_inputs]
        if not in_compiled_step(host_inputs):
            if not self._fillers and not self._trial_text and self._are_trial(host_inputs):
                self._find_fillers(self._measure(host_inputs)[0])
            boundary: list[Value] = self._host([self._as_host(i, inputs[i]) for i in self.split.host_inputs])
            return self._device(context, inputs, boundary)
        if keras.backend.backend() == "tensorflow":
            return self._device(context, inputs, self._call_with_unknown_sizes(host_inputs))
        frame, batch, boundary = self._call_with_fixed_sizes(host_inputs)
        if not frame.appended:
            return self._device(context, inputs, boundary)
        longer = [v if i in self.string_inputs else one_more_row(v, batch) for i, v in enumerate(inputs)]
        return [one_row_less(v, batch) for v in self._device(context, longer, boundary)]

    def _are_trial(self, host_inputs: Sequence[Value]) -> bool:
        """Whether a text among them is none, but what Keras tries out a model with on PyTorch."""
        packed = [v for i, v in zip(self.split.host_inputs, host_inputs, strict=True) if i in self.string_inputs]
        return any(hasattr(v, "dtype") and dtype_of_any(v) == "uint8" and is_trial(ops.convert_to_numpy(v)) for v in packed)

    def _device(self, context: Context, inputs: Sequence[Value], boundary: Sequence[Value]) -> list[Value]:
        crossing = [
            cast(v, context.compute_dtype) if context.compute_dtype != "float32" and dtype_of(v) == "float32" else v
            for v in boundary
        ]
        plan = self.resources.plan(self.split.device, context.compute_dtype)
        return plan.run(context, [*(inputs[i] for i in self.split.device_inputs), *crossing])

    def _host(self, inputs: Sequence[np.ndarray | Words]) -> list[np.ndarray]:
        by_number = any(isinstance(v, Words) for v in inputs)
        if by_number and self._word_plan is None:
            self._word_plan = WordPlan(self.split.host, self.resources.library)
        plan = self._word_plan if by_number and self._word_plan else self.resources.plan(self.split.host, "float32")
        values = plan.run(Context(self.resources), inputs)
        return [v if is_host(v) else np.asarray(v) for v in values]

    def _as_host(self, position: int, value: Value) -> np.ndarray | Words:
        """An input as numpy: strings unpacked, tensors read back."""
        if is_host(value) and value.dtype.kind not in "OSU":
            array: np.ndarray = np.asarray(value)
        elif (position in self.string_inputs and not hasattr(value, "dtype")) or is_host(value):
            return as_strings(value)
        elif dtype_of_any(value) == "string":
            return as_strings(value.numpy())
        else:
            array = ops.convert_to_numpy(value)
        return self._unpacked(self.split.host_inputs.index(position), array) if position in self.split.host_inputs else array

    # Inside a tf.function

    def _call_with_unknown_sizes(self, inputs: Sequence[Value]) -> list[Value]:
        """The boundary as tensors of which only rank and dtype are known; of vectors that are shapes the length too.

        Without that length a tensor reshaped to such a vector would have no rank.
        """
        shapes, words = self._measure(inputs)
        example = self._host(self._example(1, shapes, words))

        def function(*values: np.ndarray) -> list[np.ndarray]:
            given = [as_strings(v) if v.dtype.kind in "OSU" else v for v in values]
            return self._host([self._unpacked(k, v) for k, v in enumerate(given)])

        makers = [self.split.host.nodes[t.node].op if t.node in self.split.host.nodes else "" for t in self.split.boundary]
        lengths = [
            v.shape if v.ndim == 1 and maker in {"Pack", "Shape"} else (None,) * v.ndim
            for v, maker in zip(example, makers, strict=True)
        ]
        return call_host(function, [(n, v.dtype.name) for n, v in zip(lengths, example, strict=True)], inputs)

    def _unpacked(self, k: int, value: np.ndarray) -> np.ndarray | Words:
        """The k-th input of the host part, strings as strings, or by number where they are kept so."""
        if self.split.host_inputs[k] not in self.string_inputs or value.dtype.kind == "O":
            return value
        words = kept_words(value)
        return unpack(value, self._trial_text or self._filling(k, 1)) if words is None else words

    # Inside a step that JAX compiles

    def _call_with_fixed_sizes(self, inputs: Sequence[Value]) -> tuple[Frame, int, list[Value]]:
        batch = int(inputs[0].shape[0])
        shapes, words = self._measure(inputs)
        if (shapes, words) not in self._frames:
            self._frames[shapes, words] = self._frame(batch, shapes, words)
        frame = self._frames[shapes, words]

        def function(*values: np.ndarray) -> list[np.ndarray]:
            given = [self._unpacked(k, np.asarray(v)) for k, v in enumerate(values)]
            found = self._fitted(frame, given)
            return [v[tuple(slice(n) for n in s)].astype(d) for v, s, d in zip(found, frame.shapes, frame.dtypes, strict=True)]

        asked = [i for i, size in enumerate(frame.sizes) if size is None]
        found = call_host(
            lambda *values: [v for i, v in enumerate(function(*values)) if frame.sizes[i] is None],
            [(frame.shapes[i], frame.dtypes[i]) for i in asked],
            inputs,
        )
        answers = iter(found)
        return frame, batch, [next(answers) if size is None else size for size in frame.sizes]

    def _measure(self, inputs: Sequence[Value]) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
        """The shapes of the host part's inputs (of the texts, not of their bytes), and for how many tokens each has room."""
        shapes, words = [], []
        for i, value in zip(self.split.host_inputs, inputs, strict=True):
            packed = i in self.string_inputs and dtype_of_any(value) != "string"
            shapes.append(tuple(value.shape)[:-2] if packed else tuple(value.shape))
            words.append(int(value.shape[-2]) if packed else 1)
        return tuple(shapes), tuple(words)

    def _example(
        self, batch: int, shapes: Sequence[tuple[int, ...]], words: Sequence[int], last: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        """Inputs of the host part of filler words, the last text perhaps of another number of them; zeros for numbers."""
        if not self._fillers:
            self._find_fillers(shapes)
        result = []
        for k, shape in enumerate(shapes):
            inner = tuple(n or 1 for n in shape[1:])
            if self.split.host_inputs[k] not in self.string_inputs:
                result.append(np.zeros((batch, *inner), np.int64))
                continue
            texts = np.empty((batch, *inner), dtype=object)
            texts[...] = self._filling(k, words[k])
            if last is not None:
                texts[-1:] = self._filling(k, last[k])
            result.append(texts)
        return result

    def _find_fillers(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Chooses for each string input the words that the graph accepts as its text.

        The graph runs up to the first node that refuses; the input whose change gets it further is the one that was refused.
        """
        self._filled.clear()
        self._held.clear()
        self._fillers = [FILLERS[0]] * len(shapes)
        reached = self._trial(shapes)
        for _ in range(len(shapes)):
            if reached is None:
                return
            for k, filler in itertools.product(range(len(shapes)), FILLERS[1:]):
                kept, self._fillers[k] = self._fillers[k], filler
                now = self._trial(shapes)
                if now is None or now.partition(" failed")[0] != reached.partition(" failed")[0]:
                    reached = now
                    break
                self._fillers[k] = kept
            else:
                break
        if reached is not None:
            self._fillers = []
            raise HostPaddingError(f"the graph refuses words of filler ({reached})")

    def _trial(self, shapes: Sequence[tuple[int, ...]]) -> str | None:
        """What goes wrong with three filler words a text; None where nothing does."""
        try:
            self._host(self._example(2, shapes, [3] * len(shapes)))
        except ThawError as failure:
            return str(failure)
        return None

    def _filling(self, k: int, words: int) -> bytes:
        """The text of so many words for the k-th input of the host part."""
        word, repeated = self._fillers[k] if self._fillers else FILLERS[0]
        return b" ".join([word] * words) if repeated else word

    def _frame(self, batch: int, shapes: Sequence[tuple[int, ...]], words: tuple[int, ...]) -> Frame:
        """The sizes of a batch, learned from texts of filler words."""
        none = [0] * len(words)
        even = self._host(self._example(batch, shapes, words))
        longer = self._host(self._example(batch + 1, shapes, words))
        ruled = self._host(self._example(batch + 1, shapes, none, words))
        padded = all(a.shape == b.shape for a, b in zip(longer, ruled, strict=True)) and all(
            a.shape in {b.shape, (b.shape[0] + 1, *b.shape[1:])} if b.ndim else a.shape == b.shape
            for a, b in zip(longer, even, strict=True)
        )
        if padded:
            return self._made(words, longer, even, self._constant(longer, ruled), appended=False)
        total = tuple(w * (batch + 1) for w in words)  # so that words are left for the filler when every text is full
        whole = self._host(self._example(batch + 1, shapes, none, total))
        other = self._host(
            self._example(batch + 1, shapes, [min(w, 1) for w in words], [max(t - batch, 1) if t else 0 for t in total])
        )
        return self._made(total, whole, whole, self._constant(whole, other), appended=True)

    def _constant(self, values: list[np.ndarray], others: list[np.ndarray]) -> list[bool]:
        """Which boundary tensors are sizes, and the same for two batches of the same shapes."""
        return [
            wanted and a.dtype.kind in "iu" and a.size <= MAX_SIZES and np.array_equal(a, b)
            for wanted, a, b in zip(self.split.sizes, values, others, strict=True)
        ]

    def _made(
        self,
        words: tuple[int, ...],
        full: list[np.ndarray],
        cut: list[np.ndarray],
        constant: list[bool],
        *,
        appended: bool,
    ) -> Frame:
        return Frame(
            words=words,
            full=tuple(v.shape for v in full),
            shapes=tuple(v.shape for v in cut),
            dtypes=tuple(v.dtype.name for v in cut),
            sizes=tuple(v if c else None for v, c in zip(cut, constant, strict=True)),
            full_sizes=tuple(v if c else None for v, c in zip(full, constant, strict=True)),
            appended=appended,
        )

    def _fitted(self, frame: Frame, given: Sequence[np.ndarray | Words]) -> list[np.ndarray]:
        """The host part's answer for a batch and one text of filler, of the frame's sizes.

        Raises:
            HostPaddingError: there is no such text.
        """
        words = list(frame.words)
        if frame.appended:  # a good first guess: each word of the batch is a token
            for k, array in enumerate(given):
                if isinstance(array, Words) or array.dtype == object:
                    tokens = int(_token_counts(array).sum())
                    words[k] = max(1, words[k] - tokens + self._missed.get(id(frame), 0))
        guess = words[0]
        found: list[np.ndarray] = []
        for _ in range(4):
            found = self._host([self._with_filler(k, array, words[k]) for k, array in enumerate(given)])
            missing = [m for a, s in zip(found, frame.full, strict=True) for m in self._missing(a.shape, s)]
            wrong = [m for m in missing if m]
            if not wrong or not frame.appended:
                break
            words = [max(1, w + wrong[0]) for w in words]
            self._missed[id(frame)] = self._missed.get(id(frame), 0) + words[0] - guess
            guess = words[0]
        if [a.shape for a in found] != list(frame.full):
            raise HostPaddingError(
                f"it makes tensors of {[a.shape for a in found]}, the step was compiled for {list(frame.full)}"
            )
        for array, size in zip(found, frame.full_sizes, strict=True):
            if size is not None and not np.array_equal(array, size):
                raise HostPaddingError(f"a size is {array.tolist()}, the step was compiled for {size.tolist()}")
        return found

    @staticmethod
    def _missing(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[int]:
        return [w - n for n, w in itertools.zip_longest(shape, wanted, fillvalue=0)]

    def _with_filler(self, k: int, array: np.ndarray | Words, words: int) -> np.ndarray | Words:
        """A batch and one more row: a text of filler words, or the last row again where it is numbers."""
        if isinstance(array, Words):
            return array.with_row(self._filling(k, words))
        if array.dtype != object:
            return np.concatenate([array, array[-1:]])
        row = np.empty((1, *array.shape[1:]), dtype=object)
        row[...] = self._filling(k, words)
        return np.concatenate([array, row])


def _token_counts(texts: np.ndarray | Words) -> np.ndarray:
    """How many words and punctuation marks each text has."""
    if isinstance(texts, Words):
        return np.asarray(texts.each(token_counts, lambda of: token_counts(of.tolist())))
    return token_counts(texts.ravel().tolist())


def one_more_row(value: Value, batch: int) -> Value:
    """`value` with its last row twice, where its first axis is the batch."""
    shape = tuple(value.shape)
    return ops.concatenate([value, value[-1:]], axis=0) if shape and shape[0] == batch else value


def one_row_less(value: Value, batch: int) -> Value:
    """`value` without its last row, where its first axis is the batch and one more."""
    shape = tuple(value.shape)
    return value[:batch] if shape and shape[0] == batch + 1 else value


def dtype_of_any(value: Value) -> str:
    """The dtype by name, TensorFlow's "string" included."""
    return dtype_of(value) if is_host(value) else str(getattr(value.dtype, "name", value.dtype)).removeprefix("torch.")


def decode_strings(packed: Any) -> Strings:
    """The strings of `TextProgram.encode_strings`, from numpy or a tensor of the backend."""
    return unpack(packed if is_host(packed) else ops.convert_to_numpy(packed))
