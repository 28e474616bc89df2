"""Every exception of thaw. Each builds its own message, so that the text of all errors lives in this file.

A message is one sentence of what happened (with the values), one of what was expected, one of what to do.

    ThawError
    ├── DuplicateRegistrationError     two entries of one name in a registry
    ├── MissingLibraryError            an optional library that this needs is not installed
    ├── HandleError                    a handle cannot become a local folder
    │   ├── UnknownHandleError         nothing lies there, or no scheme knows its form
    │   ├── UnsafeAddressError         an address, or a redirect, that is not followed
    │   ├── DownloadError              the other side answered, but not with the module
    │   │   └── OfflineError           the other side cannot be reached
    │   ├── CorruptArchiveError        an archive that is damaged or is none
    │   ├── UnsafeArchiveError         an archive that would write elsewhere, or without end
    │   └── CacheError                 the cache folder cannot be used
    ├── FormatError                    what lies there cannot be read
    │   ├── UnknownFormatError         no reader knows these files
    │   ├── CorruptFileError
    │   ├── MissingFileError           a file that the artifact needs is not there
    │   ├── UnsafePathError            a file name that leaves the artifact's folder
    │   ├── UnsupportedModuleError     a format version, feature or collection that is not known
    │   ├── NoSignatureError           a module that offers nothing to call
    │   ├── WeightsNotPlacedError      weights to be written that the artifact has no place for
    │   ├── NoModelConfigError         a Keras file of weights alone
    │   ├── ConfigNotNativeError       a Keras config that Keras 3's own layers cannot rebuild
    │   └── WeightsMismatchError       the weights in a Keras file do not fit its layers
    ├── GraphError                     the graph read is not one that can run
    │   ├── UnsupportedOpsError
    │   ├── UnhandledAttributeError
    │   ├── UnhandledValueError
    │   ├── StaticInputError
    │   ├── TableError                 a lookup table cannot be filled or read
    │   ├── MediaError                 an image or sound that cannot be decoded
    │   ├── AssetMissingError          a graph reads a file that is none of its assets
    │   ├── HostPaddingError           strings cannot be given one shape under jit
    │   ├── TextsGoneError             numbers stand for strings of a call that is over
    │   ├── LoweringError
    │   ├── DanglingReferenceError     a function, variable or node is referred to and not there
    │   ├── UnfrozenGraphError         variables are read of which the artifact holds no values
    │   ├── CircularGraphError         nodes or functions need one another in a circle
    │   ├── GraphTooLargeError         a graph that would take all memory
    │   ├── ArgumentCountError         a function is called with too few or too many values
    │   ├── ShapeRefusedError          a tensor has another shape than the graph asks for
    │   ├── ControlFlowError           loops or conditions of TensorFlow 1 that do not fit together
    │   ├── LoopGradientError          a loop of unknown length cannot be differentiated here
    │   ├── LoopLimitError             a loop does not end within its bound
    │   ├── LoopShapeError             a loop whose values change their shapes cannot be traced
    │   └── BranchShapeError           branches that differ in shape cannot be traced
    ├── InputError                     a call's inputs do not fit the signature
    ├── SelectionError                 a name, index or pattern picks nothing
    │   ├── UnknownLayerError
    │   ├── UnknownTensorError
    │   ├── InsideLoopError            a tensor that a loop or branch makes anew each time
    │   ├── PieceError                 inputs and outputs that do not bound a piece of the graph
    │   ├── NothingSelectedError
    │   ├── NotInModelError
    │   └── NothingCanTrainError
    ├── TrainabilityError              the optimizer or model cannot obey a change of flags
    │   ├── OptimizerRefusedError
    │   ├── KerasDriftError
    │   ├── ChoiceMismatchError
    │   ├── RelaxationError            an op cannot be given a gradient
    │   ├── ScheduleError              the phases of a training schedule do not fit together
    │   └── NearnessError              weights cannot be pulled to where they started
    ├── HubArgumentError               the arguments of KerasLayer contradict the artifact
    ├── SizeNotFreeError               a graph that runs at the size only that it was published for
    ├── NotExportableError             a model that computes something else than its artifact did
    ├── ExportTargetError              the place to export to cannot be used
    ├── WeightsMissingError            a layer was made from a config and its weights never loaded
    └── DataError                      the data for fine-tuning cannot be used
        ├── DataNotFoundError
        ├── TooFewClassesError
        ├── UnreadableImageError
        ├── MissingColumnError
        ├── MissingValuesError
        ├── DataMismatchError
        └── OutputFolderError
"""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence


def nearest(name: str, choices: Iterable[str], most: int = 8) -> list[str]:
    """`choices` ordered by likeness to `name`, at most `most` of them."""
    pool = sorted(set(choices))
    best = difflib.get_close_matches(name, pool, n=most, cutoff=0.3)
    return best + [c for c in pool if c not in best][: most - len(best)]


def listed(items: Iterable[object], most: int = 12) -> str:
    """`items` as one line: their reprs joined by commas, cut with a count where there are more than `most`."""
    every = [repr(item) for item in items]
    shown = ", ".join(every[:most]) or "none"
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


def by_hand(place: object) -> str:
    """How to put a module into the cache without this machine's network."""
    return f"download it elsewhere and put it at {str(place)!r}: the next call takes it from there."


class ThawError(Exception):
    """Root of all errors that thaw raises on purpose."""

    _keras_call_info_injected = True
    """Tells Keras not to raise a RuntimeError of its own instead, with the arguments of the call in front of our message."""


class DuplicateRegistrationError(ThawError):
    """Two entries were registered under one name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"A {kind} named {name!r} is registered already. Choose another name, or remove one of the two.")


class MissingLibraryError(ThawError, ImportError):
    """A library that thaw does without, until something needs it, is not installed."""

    def __init__(self, library: str, needed_for: str, extra: str) -> None:
        super().__init__(
            f"{needed_for} needs the library {library!r}, which is not installed. "
            f"Expected keras-thaw with its extra {extra!r}. Run: pip install 'keras-thaw[{extra}]'"
        )


class HandleError(ThawError):
    """A handle cannot be turned into a local, complete, verified folder."""


class UnknownHandleError(HandleError, FileNotFoundError):
    """A handle names nothing that exists, in no form that is known."""

    def __init__(self, handle: object, tried: Iterable[str], forms: Iterable[tuple[str, str]]) -> None:
        attempts = "".join(f"\n  {attempt}" for attempt in tried)
        accepted = "".join(f"\n  {name:<9} {example}" for name, example in forms)
        super().__init__(
            f"No model found for the handle {handle!r}. Tried:{attempts}\n"
            f"Expected one of these forms:{accepted}\n"
            "Check the spelling; a relative path starts from the current folder."
        )


class UnsafeAddressError(HandleError):
    """An address that is not opened, whether given by the user or by a redirect."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"{address} is not opened: {reason}. Expected an https:// address that leads to https:// addresses "
            "(http:// is for this machine's own loopback only). Use the https:// address of the publisher or of a "
            "mirror that you trust, or download the file and give its local path."
        )


class DownloadError(HandleError):
    """What a handle names could not be downloaded, though its server was reached."""

    def __init__(self, handle: str, reason: str, place: object) -> None:
        super().__init__(
            f"{handle} could not be downloaded: {reason}. Expected the module as a .tar.gz archive, or one model file. "
            f"Check the handle, its version and your access rights to it; or {by_hand(place)}"
        )


class OfflineError(DownloadError):
    """The server of a handle cannot be reached, and the module is not in the cache."""

    def __init__(self, handle: str, reason: str, place: object) -> None:
        HandleError.__init__(
            self,
            f"{handle} is not in the cache, and its server cannot be reached: {reason}. "
            f"Expected a network, or the module in the cache. Try again when online; or {by_hand(place)}",
        )


class CorruptArchiveError(HandleError):
    """An archive is truncated, damaged, empty, or no archive."""

    def __init__(self, archive: object, reason: str) -> None:
        super().__init__(
            f"The archive {str(archive)!r} cannot be unpacked: {reason}. Expected a complete .tar.gz or .tar of the "
            "module's folder. Download or pack it again; nothing of it was kept in the cache."
        )


class UnsafeArchiveError(HandleError):
    """An archive holds what must not be unpacked."""

    def __init__(self, archive: object, member: str, reason: str) -> None:
        super().__init__(
            f"The archive {str(archive)!r} is refused at its member {member!r}: {reason}. Expected plain files and "
            "folders, by relative names, within bounds. If you trust the source, unpack it yourself and give the "
            "folder as the handle; nothing of it was kept in the cache."
        )


class CacheError(HandleError, OSError):
    """The cache folder cannot be made, written or locked."""

    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(
            f"The cache folder {str(folder)!r} cannot be used: {reason}. Expected a folder that can be written, with "
            "room for the module. Name another by the environment variable THAW_CACHE_DIR, or by `cache_dir=`."
        )


class FormatError(ThawError):
    """The files of an artifact cannot be read."""


class GraphError(ThawError):
    """A graph is malformed or asks for what cannot be done."""


class InputError(ThawError, ValueError):
    """The inputs of a call do not fit the signature. A ValueError too, since that is what hub.KerasLayer raises."""

    def __init__(self, program: str, problem: str, takes: str, *, lengths: bool = False) -> None:
        free = " Where the ops allow other lengths, `KerasLayer(..., free_sizes=True)` does." if lengths else ""
        super().__init__(
            f"The inputs do not fit {program!r}: {problem}. Expected {takes}. "
            f"Pass inputs of those names, dtypes and shapes (`thaw inspect` prints them).{free}"
        )


class SelectionError(ThawError, ValueError):
    """A name, index, pattern or predicate picks nothing."""


class TrainabilityError(ThawError):
    """A change of what trains cannot be carried out."""


class DataError(ThawError):
    """The user's data cannot be used."""


FOREIGN_OPS = {
    "XlaCallModule": "a program that JAX compiled; export anew by jax2tf.convert(native_serialization=False, enable_xla=False)",
    "PyFunc": "Python code of the process that made the graph",
    "EagerPyFunc": "Python code of the process that made the graph",
    "PyFuncStateless": "Python code of the process that made the graph",
    "SimpleMLInferenceOpWithHandle": "trees of TensorFlow Decision Forests; its own library runs them",
}
"""Ops that no table can hold, and what they are."""


class UnsupportedOpsError(GraphError):
    """Ops of a graph have no lowering; all of them are named at once."""

    def __init__(self, missing: Sequence[tuple[str, int, str]]) -> None:
        notes = {op: f": {FOREIGN_OPS[op]}" for op, _, _ in missing if op in FOREIGN_OPS}
        rows = "".join(f"\n  {op}  ({count} nodes, e.g. {node!r}){notes.get(op, '')}" for op, count, node in missing)
        super().__init__(
            f"{len(missing)} kinds of op in this graph have no lowering:{rows}\n"
            "Only ops of the table in docs/ops.md run. Choose another signature or inner output (`outputs=`) "
            "that does without them, or add a lowering (CONTRIBUTING.md, 'An op')."
        )
        self.missing = tuple(missing)


class UnhandledAttributeError(GraphError):
    """A node carries an attribute that its lowering does not know."""

    def __init__(self, op: str, node: str, attribute: str, value: object, known: Iterable[str]) -> None:
        super().__init__(
            f"Node {node!r} ({op}) carries the attribute {attribute}={value!r}, which its lowering does not handle. "
            f"Handled: {listed(sorted(known))}. Running on would give a wrong answer silently; "
            "extend the lowering (CONTRIBUTING.md, 'An op')."
        )


class UnhandledValueError(GraphError):
    """An attribute has a value that the lowering does not support."""

    def __init__(self, op: str, attribute: str, value: object, supported: Iterable[object]) -> None:
        super().__init__(
            f"{op} with {attribute}={value!r} is not supported. Supported: {listed(supported)}. "
            "Choose another signature or inner output, or extend the lowering (CONTRIBUTING.md, 'An op')."
        )


class StaticInputError(GraphError):
    """An input that must be known while tracing depends on data."""

    def __init__(self, op: str, node: str, argument: str) -> None:
        super().__init__(
            f"Node {node!r} ({op}) needs its input {argument!r} while the step is being traced, but it depends on "
            "the data of the batch. Expected a constant or a value computed from shapes. Run this model without jit "
            "(`compile(jit_compile=False)`, or call it eagerly), or on PyTorch."
        )


class TableError(GraphError):
    """A lookup table cannot be filled or read."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(
            f"The lookup table {table!r} {reason}. Expected every table to be filled once, from assets that the artifact "
            "carries, each key standing there once. The artifact is incomplete or damaged: get it again from its publisher."
        )


class MediaError(GraphError):
    """The bytes of an image or sound are not what the op decodes."""

    def __init__(self, op: str, found: str, expected: str) -> None:
        super().__init__(f"{op} {found}. Expected {expected}. Convert what you feed, or decode it before the call.")


class AssetMissingError(GraphError):
    """A graph reads a file, and the artifact has none of that name."""

    def __init__(self, node: str, file: str, assets: Sequence[str]) -> None:
        super().__init__(
            f"Node {node!r} (ReadFile) reads the file {file!r}. Expected an asset of the artifact: {listed(assets)}; files "
            "elsewhere are nothing that a published graph may read. Read the file yourself, and feed its bytes to the node "
            "(`inputs=`)."
        )


class HostPaddingError(GraphError):
    """The numbers that a batch of strings becomes cannot be brought to one shape for a compiled step."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"A batch of strings cannot be given the shapes that the compiled step was traced for: {reason}. "
            "Expected texts of at most the number of tokens that the batch was packed for, and a graph whose shapes grow "
            "with them. Pack the strings anew (`encode_strings`), compile with `run_eagerly=True`, or map `layer.preprocess` "
            "over the data."
        )


class TextsGoneError(GraphError):
    """Numbers stand for strings that were kept for a call which is over."""

    def __init__(self, rows: int) -> None:
        super().__init__(
            f"{rows} rows stand for strings that are not kept any more. Expected numbers that `fit` and its like made of strings "
            "to be used before that call ends. Pass strings again, or make numbers that last by `layer.preprocess`."
        )


def _axes(value: object) -> str:
    """The shape of a value for a message; TensorFlow may not even know the rank."""
    shape = getattr(value, "shape", ())
    return " of unknown rank" if getattr(shape, "rank", 0) is None else str(list(shape))


class LoweringError(GraphError):
    """An op could not be computed on the values that reached it."""

    def __init__(self, op: str, node: str, inputs: Sequence[object], attributes: object, cause: Exception) -> None:
        shapes = ", ".join(f"{getattr(v, 'dtype', type(v).__name__)}{_axes(v)}" for v in inputs)
        super().__init__(
            f"Node {node!r} ({op}) failed on inputs ({shapes}) with attributes {attributes}: {type(cause).__name__}: {cause}. "
            "Expected inputs that fit the published graph; check the shapes and dtypes of what you feed "
            "(`thaw inspect` prints the signature)."
        )


class DanglingReferenceError(GraphError):
    """A graph refers to a function, variable or node that the artifact does not hold."""

    def __init__(self, where: str, kind: str, name: str, there: Iterable[str]) -> None:
        super().__init__(
            f"{where} refers to the {kind} {name!r}, which is not there. Expected it among the {kind}s of the artifact: "
            f"{listed(nearest(name, there))}. The file is incomplete or damaged: get it again from its publisher."
        )


class UnfrozenGraphError(GraphError):
    """A GraphDef that was written without freezing it: it reads variables, and has room for the values of none."""

    def __init__(self, what: str, variables: Sequence[str]) -> None:
        super().__init__(
            f"{what!r} reads {len(variables)} variables whose values are not in the file: {listed(variables)}. Expected a frozen "
            "graph, whose weights are constants; those of this one lie in a checkpoint. Freeze it with that checkpoint in "
            "TensorFlow (`tf.compat.v1.graph_util.convert_variables_to_constants`), or choose an output that needs no variable "
            "(`outputs=`)."
        )


class CircularGraphError(GraphError):
    """Nodes depend on one another in a circle outside of any loop, or functions call themselves."""

    def __init__(self, kind: str, name: str, by_way_of: Iterable[str]) -> None:
        super().__init__(
            f"The {kind} {name!r} needs its own result, by way of {listed(by_way_of)}. Expected a graph without circles outside "
            "of loops, and functions without recursion. The file is damaged, or cannot be run: get it again, or choose another "
            "signature."
        )


class GraphTooLargeError(GraphError):
    """A graph that grows beyond every bound when its functions are put in place of their calls."""

    def __init__(self, graph: str, most: int) -> None:
        super().__init__(
            f"Graph {graph!r} has more than {most} nodes once its functions stand in place of their calls. Expected no more than "
            "that. The file is damaged or hostile: do not trust it, or choose a smaller part of it (`outputs=`)."
        )


class ArgumentCountError(GraphError):
    """A graph or function is called with too few or too many values."""

    def __init__(self, function: str, given: int, takes: int) -> None:
        super().__init__(
            f"The function {function!r} is called with {given} values. Expected {takes}. "
            "The file is damaged: get it again from its publisher."
        )


class ShapeRefusedError(GraphError):
    """A tensor does not have the shape that the graph insists on (EnsureShape)."""

    def __init__(self, found: object, wanted: object) -> None:
        super().__init__(
            f"A tensor of shape {found} arrived where the graph insists on another. Expected the shape {wanted}. "
            "Check the shapes of what you feed (`thaw inspect` prints the signature)."
        )


class ControlFlowError(GraphError):
    """Nodes of TensorFlow 1's control flow do not form loops and conditions."""

    def __init__(self, graph: str, node: str, problem: str, expected: str) -> None:
        super().__init__(
            f"Node {node!r} of graph {graph!r} {problem}. Expected {expected}. The control flow of this graph is damaged, or "
            "not by TensorFlow 1: export it again, or choose an inner output before this node (`outputs=`)."
        )
        self.node = node


class LoopGradientError(GraphError):
    """A gradient was asked of a loop whose trip count is not known while tracing (JAX)."""

    def __init__(self, loop: str) -> None:
        super().__init__(
            f"The loop {loop!r} runs as often as its data say, and JAX cannot differentiate a loop of unknown length. "
            "Expected a trip count that follows from shapes or constants, or a bound. Give one: "
            "`KerasLayer(..., max_iterations=N)`, with N at least as large as its longest run; or train it on PyTorch."
        )
        self.loop = loop


class LoopLimitError(GraphError):
    """A loop was cut off at its bound while its condition still held."""

    def __init__(self, loop: str, limit: int, given: bool) -> None:
        whose = f"max_iterations={limit}" if given else f"the {limit} iterations that thaw allows"
        super().__init__(
            f"The loop {loop!r} still wants to go on after {whose}. Expected it to end by then. If it is meant to run longer, "
            "give a larger `max_iterations=`; otherwise its condition never becomes false on this input: check what you feed."
        )
        self.loop = loop


class BranchShapeError(GraphError):
    """The branches of a condition in a traced step (JAX) give tensors of different shapes or dtypes."""

    def __init__(self, condition: str, output: int, found: Sequence[str]) -> None:
        super().__init__(
            f"Output {output} of the condition {condition!r} is {' in one branch and '.join(dict.fromkeys(found))} in another, "
            "and its predicate depends on the data of the batch. Expected the same shape and dtype of all branches, since JAX "
            "compiles them into one step. Run it without jit (`compile(jit_compile=False)`), or on PyTorch."
        )
        self.condition = condition


class LoopShapeError(GraphError):
    """A loop in a traced step (JAX) changes the shapes of its values from round to round."""

    def __init__(self, loop: str, change: str, length: int | None, most: int) -> None:
        rounds = "an unknown number of rounds" if length is None else f"{length} rounds"
        super().__init__(
            f"The loop {loop!r} runs {rounds}, and a value changes its shape from one to the next ({change}). Expected constant "
            f"shapes, or a known number of at most {most} rounds. Run it without jit (`compile(jit_compile=False)`), or on "
            "PyTorch."
        )
        self.loop = loop


class NothingSelectedError(SelectionError):
    """One part of a selection matches no layer and no variable."""

    def __init__(self, item: object, model: str, names: Iterable[str]) -> None:
        close = nearest(item, names) if isinstance(item, str) else list(names)
        super().__init__(
            f"{item!r} matches no layer and no variable of {model!r}. Expected a name, glob, re.compile pattern, layer, "
            f"variable, index, slice, layer class or predicate that picks at least one. Nearest names: {listed(close)}. "
            "thaw.select(model) lists all that can be picked."
        )


class NotInModelError(SelectionError):
    """A layer or variable was given that the model does not hold."""

    def __init__(self, kind: str, name: str, model: str) -> None:
        super().__init__(
            f"The {kind} {name!r} is not part of {model!r}. Expected an object that the model itself holds (compared by "
            "identity: a clone or a reloaded copy is another object). Take it from the model, or give its name."
        )


class NothingCanTrainError(SelectionError):
    """What was selected exists, but holds no variable that could ever train."""

    def __init__(self, item: object, model: str, matched: Iterable[str]) -> None:
        super().__init__(
            f"{item!r} matches {listed(matched)} in {model!r}, which hold no variable that could train. Expected at least "
            "one floating-point weight that is neither a statistic nor a random state; a layer that is not built yet "
            "has none: build the model first. Variables that the model's maker left out can be named one by one by "
            "their full path, or all with unfreeze(..., left_out=True)."
        )


class OptimizerRefusedError(TrainabilityError):
    """An optimizer keeps state that cannot be carried over to another set of variables."""

    def __init__(self, optimizer: str, reason: str) -> None:
        super().__init__(
            f"The optimizer {optimizer} cannot follow a change of what trains: {reason}. Expected state in lists of one "
            "variable per trained variable, or in single variables. Nothing was changed: set the flags before the first "
            "fit, or compile with a new optimizer after changing them."
        )


class KerasDriftError(TrainabilityError):
    """Keras has changed where thaw hooks into it."""

    def __init__(self, version: str, backend: str, missing: Iterable[str], tested: Iterable[str]) -> None:
        super().__init__(
            f"Keras {version} on {backend} lacks what live flags lean on: {listed(missing)}. Expected them as in Keras "
            f"{', '.join(tested)}. The model was not touched: install one of these versions, or compile with a new "
            "optimizer after each change of flags."
        )


class ChoiceMismatchError(TrainabilityError):
    """A stored choice of what trains does not fit the model that it is put back on."""

    def __init__(self, model: str, missing: Iterable[str], names: Iterable[str]) -> None:
        lacking = list(missing)
        close = nearest(lacking[0], names) if lacking else list(names)
        super().__init__(
            f"The stored choice names variables that {model!r} lacks: {listed(lacking)}. Expected the model that it was "
            f"taken from, or one of the same architecture. Nearest names here: {listed(close)}. Nothing was changed."
        )


class RelaxationError(TrainabilityError, ValueError):
    """An op cannot be given a gradient: it is not there, cannot be relaxed, or its result never becomes a float again."""

    def __init__(self, op: str, how: str, there: Iterable[str], met: Iterable[str]) -> None:
        found = list(met)
        what = f"It means {listed(found, 4)}, which cannot be" if found else "No op of that type or name is there to be"
        super().__init__(
            f"{op!r} cannot be relaxed by {how!r}. {what} relaxed, or whose result never becomes a float again. Expected one of "
            f"{listed(there)}, and 'straight_through' or 'soft'. `thaw.explain` names the op in the way of each weight."
        )


class ScheduleError(TrainabilityError, ValueError):
    """The phases of a schedule do not fit together, or not the training that they are meant for."""

    def __init__(self, problem: str, expected: str, action: str) -> None:
        super().__init__(f"{problem}. Expected {expected}. {action}.")


class NearnessError(TrainabilityError, ValueError):
    """Weights cannot be pulled to where they started: the strength is no such number, or the start is of other weights."""

    def __init__(self, problem: str, expected: str, action: str) -> None:
        super().__init__(f"{problem}. Expected {expected}. {action}.")


class NoModelConfigError(FormatError):
    """A Keras file holds weights but no description of the layers."""

    def __init__(self, path: object, layers: Sequence[str]) -> None:
        super().__init__(
            f"{str(path)!r} holds weights only, of {len(layers)} layers ({listed(layers)}), and no model config. "
            "Expected a file written by `model.save(...)`. Build the architecture in code and pass it: "
            "`read_keras_file(path, into=model)`."
        )
        self.layers = tuple(layers)


class ConfigNotNativeError(FormatError):
    """A Keras config names classes, code, calls or arguments that Keras 3's own layers do not have."""

    def __init__(
        self,
        where: object,
        *,
        unknown: Mapping[str, Sequence[str]] | None = None,
        code: Sequence[str] = (),
        calls: Mapping[str, Sequence[str]] | None = None,
        arguments: Sequence[str] = (),
        reason: str = "",
    ) -> None:
        lines = [f"The Keras config of {str(where)!r} cannot be rebuilt. Expected layers and arguments that Keras 3 itself has."]
        if reason:
            lines.append(f"  {reason}")
        lines += [f"  unknown class or function {name!r}, in {listed(at)}" for name, at in (unknown or {}).items()]
        lines += [f"  Python code, which is never run: {item}" for item in code]
        lines += [f"  TensorFlow call {name!r} without a translation, in {listed(at)}" for name, at in (calls or {}).items()]
        lines += [f"  argument without a meaning in Keras 3: {item}" for item in arguments]
        if unknown:
            hint = ", ".join(f"{name!r}: ..." for name in unknown)
            lines.append(f"Pass the classes and functions yourself: `custom_objects={{{hint}}}`.")
        if code:
            lines.append("Pass a function or layer of your own under that name: `custom_objects={'<layer name>': f}`.")
        lines.append("If it is a SavedModel, its graph still opens: `thaw.KerasLayer(path)`.")
        super().__init__("\n".join(lines))
        self.unknown = {name: tuple(at) for name, at in (unknown or {}).items()}
        self.code = tuple(code)
        self.calls = {name: tuple(at) for name, at in (calls or {}).items()}
        self.arguments = tuple(arguments)


class WeightsMismatchError(FormatError):
    """The weights stored for a layer are not those that the layer has."""

    def __init__(self, where: object, problems: Sequence[str]) -> None:
        rows = "".join(f"\n  {problem}" for problem in problems[:12])
        rest = f"\n  and {len(problems) - 12} more" if len(problems) > 12 else ""
        super().__init__(
            f"The weights in {str(where)!r} do not fit the model:{rows}{rest}\n"
            "Expected every layer's weights, with the shapes that its config gives. Compare the file with the model "
            "it was saved from, or pass the right classes with `custom_objects=`."
        )
        self.problems = tuple(problems)


class CorruptFileError(FormatError):
    """A file is damaged, or declares what it cannot hold or must not ask for."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(
            f"{str(path)!r} cannot be read: {problem}. Expected a whole file, as its writer left it. "
            "Fetch or export it again, and compare its size or sha256 with the source."
        )
        self.problem = problem


class UnknownFormatError(FormatError):
    """The files are of no format that can be read."""

    def __init__(self, origin: object, looked: Iterable[str], found: Iterable[str], nature: str = "") -> None:
        rows = "".join(f"\n  {line}" for line in looked)
        what = f"{nature}\n" if nature else ""
        super().__init__(
            f"{str(origin)!r} is of no known format: it holds {listed(found)}. {what}Expected one of:{rows}\n"
            "Give the folder in which saved_model.pb lies (not the one above or below it), or the model file itself."
        )


class MissingFileError(FormatError):
    """A file that the artifact refers to does not exist."""

    def __init__(self, origin: object, name: str, need: str = "") -> None:
        what = f" ({need})" if need else ""
        super().__init__(
            f"{str(origin)!r} lacks the file {name!r}{what}. Expected it beside the others, as its publisher laid it out. "
            "The artifact is incomplete: fetch or copy the whole folder again."
        )


class UnsafePathError(FormatError):
    """A file name inside an artifact points out of its folder."""

    def __init__(self, name: str, target: str = "") -> None:
        where = f" (a link to {target!r})" if target else ""
        super().__init__(
            f"The artifact names the file {name!r}{where}, which leaves its folder. Expected a relative name inside it. "
            "Do not trust this artifact; if it is your own, replace links by the files and save it again."
        )


class UnsupportedModuleError(FormatError):
    """An artifact asks for what this reader does not know, so that reading on could give wrong answers."""

    def __init__(self, origin: object, what: str, names: Iterable[object], known: Iterable[object]) -> None:
        super().__init__(
            f"{str(origin)!r} uses {what} that thaw does not know: {listed(names)}. Expected only: {listed(known, most=40)}. "
            "Export it again without them, or look for another version of this model."
        )


class NoSignatureError(FormatError):
    """A module or SavedModel has neither a signature nor a callable, or none until one says which part of it is meant."""

    def __init__(
        self,
        origin: object,
        tags: Iterable[str],
        *,
        inner: Collection[str] = (),
        placeholders: Collection[str] = (),
        outputs: Collection[str] = (),
    ) -> None:
        mend = (
            "Expected at least one. Export it again with a signature (for a SavedModel, "
            "`tf.saved_model.save(model, folder, signatures=...)`)."
        )
        if inner:
            mend = f"Its inner objects can be called, though: {listed(inner)}. Pass one of them as `signature=`."
        elif outputs:
            mend = (
                f"Its graph can be run in pieces: it has the placeholders {listed(placeholders)}, and what looks like outputs is "
                f"{listed(outputs)}. Pass `outputs=` (and `inputs=` for other tensors than placeholders); "
                "`thaw inspect --tensors` lists what can be named."
            )
        who, under = "The artifact" if origin is None else repr(str(origin)), sorted(tags)
        super().__init__(f"{who} has nothing that could be called under the tags {under}: no signature, no function. {mend}")


class WeightsNotPlacedError(FormatError):
    """Weights are to be written into an artifact that has no such variables."""

    def __init__(self, kind: str, strangers: Sequence[str], wrong: Sequence[str], names: Iterable[str]) -> None:
        parts = [f"it has none called {listed(strangers)}"] if strangers else []
        parts += [f"of other shapes: {'; '.join(wrong[:8])}"] if wrong else []
        close = nearest(strangers[0], names) if strangers else list(names)
        super().__init__(
            f"The weights do not go into this {kind}: {' and '.join(parts)}. Expected its own variables, by name and shape: "
            f"{listed(close)}. Take the names from `layer.source_variables`."
        )


class UnknownLayerError(SelectionError):
    """A name or index picks no inner layer, or several."""

    def __init__(self, wanted: str, choices: Sequence[str], owner: str, *, several: bool = False) -> None:
        what = "picks several inner layers" if several else "picks no inner layer"
        super().__init__(
            f"{wanted!r} {what} of {owner!r}. There are: {listed(nearest(wanted, choices, 12))} ({len(choices)} in all). "
            "Use one of these names or paths, or an index into `.layers`."
        )


class HubArgumentError(ThawError, ValueError):
    """The arguments of KerasLayer contradict one another or what the artifact holds. A ValueError, as in hub.KerasLayer."""

    def __init__(self, what: str, expected: str, do: str) -> None:
        super().__init__(f"{what}. Expected {expected}. {do}.")


class WeightsMissingError(ThawError):
    """A layer was made from a config whose weights were never loaded."""

    def __init__(self, name: str, handle: str) -> None:
        super().__init__(
            f"The layer {name!r} was made from a config without weights (its handle {handle!r} is not there any more), and none "
            "have been loaded since. Expected `load_weights` or `keras.saving.load_model` on a saved model. "
            "Load the weights before you call it, or make the handle available again."
        )


class DataNotFoundError(DataError):
    """The data that were named are not there, or are of no known kind."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(
            f"{str(path)!r} {what}. Expected a folder with one subfolder of images a class, or a table (.csv, .jsonl, .parquet). "
            "Name such a folder or table."
        )


class TooFewClassesError(DataError):
    """There is nothing to tell apart."""

    def __init__(self, path: object, classes: Sequence[str]) -> None:
        super().__init__(
            f"The data in {str(path)!r} have {len(classes)} class(es): {listed(classes)}. "
            "Expected at least two, each with at least one example. Add examples of another class, or check the label column."
        )


class UnreadableImageError(DataError):
    """Files that should be images cannot be decoded."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(
            f"{len(paths)} file(s) cannot be decoded as images: {listed(paths, 8)}. Expected JPEG, PNG, BMP, GIF or WebP. "
            "Remove or repair them."
        )


class MissingColumnError(DataError):
    """A table lacks a column."""

    def __init__(self, path: object, wanted: str, columns: Sequence[str], option: str) -> None:
        super().__init__(
            f"The table {str(path)!r} has no column {wanted!r}. Expected one of those that it has: {listed(columns)}. "
            f"Name the right one with {option}."
        )


class MissingValuesError(DataError):
    """A column of a table has rows without a value."""

    def __init__(self, path: object, column: str, rows: Sequence[int]) -> None:
        shown = ", ".join(str(row + 1) for row in rows[:8]) + (", ..." if len(rows) > 8 else "")
        super().__init__(
            f"The column {column!r} of the table {str(path)!r} lacks a value in {len(rows)} row(s): {shown} (the first is 1). "
            "Expected a label in every row, and a finite number in every numeric column. Fill in or remove these rows."
        )


class DataMismatchError(DataError):
    """The data are not what the module takes."""

    def __init__(self, what: str, takes: str, do: str) -> None:
        super().__init__(f"{what}. Expected what the module takes: {takes}. {do}.")


class OutputFolderError(DataError):
    """The output folder cannot be used."""

    def __init__(self, path: object, what: str, do: str) -> None:
        super().__init__(f"The output folder {str(path)!r} {what}. Expected an empty or new folder. {do}.")


class UnknownTensorError(SelectionError):
    """A name picks no tensor of a graph, or several."""

    def __init__(self, wanted: str, choices: Sequence[str], *, several: bool = False) -> None:
        what = "picks several nodes" if several else "picks no node"
        super().__init__(
            f"{wanted!r} {what} of the graph. There are: {listed(nearest(wanted, choices, 12))} ({len(choices)} in all). "
            "Use one of these names, the end of one, or a glob that matches one."
        )


class InsideLoopError(SelectionError):
    """A name picks a tensor inside of a loop or branch, which has no value (or many) for the graph around."""

    def __init__(self, wanted: str, kind: str, where: str) -> None:
        super().__init__(
            f"{wanted!r} is inside of the {kind} {where!r}, where it has a value for each round or none. Expected a tensor "
            "outside of loops and branches. Name what goes into it or comes out of it; `thaw inspect --tensors` lists what there "
            "is."
        )


class PieceError(SelectionError):
    """`inputs=` and `outputs=` do not bound a piece of the graph."""

    def __init__(self, unused: Sequence[str], missing: Sequence[str], outputs: Sequence[str]) -> None:
        parts = []
        if unused:
            parts.append(f"nothing is computed from {listed(unused)}")
        if missing:
            parts.append(f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} needed besides")
        super().__init__(
            f"The outputs {listed(outputs)} cannot be computed from these inputs: {'; '.join(parts)}. Expected `inputs=` that "
            "lie before the outputs, and all that the outputs need. Leave out what is not needed, and name in `inputs=` what is "
            "(an input of the whole graph by its own name)."
        )


class NotExportableError(ThawError, ValueError):
    """A model computes something else than the artifact did, and so cannot be written in its place."""

    def __init__(self, name: str, what: str, which: Sequence[str], layer: str) -> None:
        alone = (
            f"`thaw.export(model.get_layer({layer!r}), path)` (`--layer {layer}`) writes that layer alone, and " if layer else ""
        )
        super().__init__(
            f"The model {name!r} cannot be written back: {what}: {listed(which)}. Expected a `thaw.KerasLayer` with the graph "
            f"that it was opened with, and nothing around it. {alone}`model.save` keeps everything for Keras, or "
            "`model.export(path)` of Keras makes a SavedModel of it all."
        )


class ExportTargetError(ThawError, OSError):
    """The place to export to cannot be used."""

    def __init__(self, path: object, what: str, do: str) -> None:
        super().__init__(f"{str(path)!r} {what}. Expected a new or empty folder, or a new .pb file for a frozen graph. {do}.")


class SizeNotFreeError(ThawError, ValueError):
    """A graph that was published for one size does not run at another."""

    def __init__(self, given: Sequence[Sequence[int]], published: Sequence[Sequence[int]], problem: str, allowed: str) -> None:
        sizes = f" (images of {allowed} pixels a side are allowed)" if allowed else ""
        super().__init__(
            f"The graph does not run on inputs of shape {listed(given)}: {problem} Expected shapes like the published "
            f"{listed(published)}{sizes}. Resize what you feed, or cut the graph before that op with `outputs=`."
        )
