"""What `formats.read` gives and the passes take: an artifact as plain data, weights still on disk.

Whatever the format, an artifact is one or more metagraphs (told apart by tags); a metagraph has functions (signatures and
callables), each with one or more traces; a trace is a graph plus the structure of what goes in and out. Imports ir only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from thaw.graph.ir import DType, Graph, Structure


@dataclass(frozen=True, slots=True)
class VariableSource:
    """A variable of the artifact, not yet read.

    Attributes:
        name: the publisher's name, ":0" cut off, unique in the artifact ("#2" ... for a repeated one, in order); the parts
            of a partitioned variable are one variable under the whole's name... or several, where the graph reads the parts.
        key: the `shared_name` by which the graph's resource nodes refer to it.
        dtype: TensorFlow's name.
        shape: of the whole.
        trainable: the publisher's advice (trainable_variables, TRAINABLE_VARIABLES, or the flag on the variable).
        read: gives the value, memory-mapped where it can be; raises CorruptFileError where bytes or checksum are wrong.
    """

    name: str
    key: str
    dtype: DType
    shape: tuple[int, ...]
    trainable: bool
    read: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a callable, by its Python signature.

    Attributes:
        name: as in the publisher's `def`.
        default: its default, where it has one (`has_default`).
        has_default: whether it may be left out.
        keyword_only: whether it stands after `*`.
    """

    name: str
    default: Structure = None
    has_default: bool = False
    keyword_only: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """One concrete function: what one call with given Python arguments and input specs was traced to.

    Attributes:
        args: positional arguments: structures whose leaves are specs (fed) or Python constants (must equal).
        kwargs: keyword arguments, likewise. A signature has only these, one spec a name.
        outputs: the structure of what comes out.
        graph: its `inputs` are the spec leaves of (args, kwargs sorted by name), flattened as TensorFlow does (dicts by
            sorted key; composites as their components); its `outputs` are the leaves of `outputs`, flattened likewise.
    """

    args: tuple[Structure, ...]
    kwargs: Mapping[str, Structure]
    outputs: Structure
    graph: Graph


@dataclass(frozen=True, slots=True)
class Function:
    """A signature (one trace) or a callable of the artifact (several).

    Attributes:
        name: "serving_default", "default", "__call__", ...
        parameters: of a callable; empty for a signature.
        traces: at least one.
        method: the signature's method name ("tensorflow/serving/predict"), empty for callables.
    """

    name: str
    parameters: tuple[Parameter, ...]
    traces: tuple[Trace, ...]
    method: str = ""


@dataclass(frozen=True, slots=True)
class MetaGraph:
    """One variant of an artifact.

    Attributes:
        tags: frozenset() and {"train"} in a TF1 Hub module; {"serve"} mostly elsewhere.
        signatures: by name.
        callables: by attribute name of the root object ("__call__", other tf.functions); TF2 only.
        inner: callables of inner objects, by the path of the object ("query_model"); read only where the root offers nothing.
        whole: of a graph without signatures, all of it, from its placeholders to what look like outputs; run in pieces only.
        library: functions by name, for calls, loops and branches.
        initializers: graphs to run once, in order, before anything else (they fill lookup tables).
        regularization_losses: a graph without inputs, one scalar output a loss; None where there are none.
        regularized: for each loss, the names of the variables that it reads (so that it counts while one of them trains).
        update_ops: names of the nodes of UPDATE_OPS (TF1; in TF2 they stand in each trace's graph.updates).
        attachments: messages attached to the module by key (TF1 Hub), serialized, e.g. "image_module_info".
        assets: file names relative to the artifact's assets folder.
    """

    tags: frozenset[str]
    signatures: Mapping[str, Function]
    callables: Mapping[str, Function] = field(default_factory=dict)
    inner: Mapping[str, Function] = field(default_factory=dict)
    whole: Function | None = None
    library: Mapping[str, Graph] = field(default_factory=dict)
    initializers: tuple[Graph, ...] = ()
    regularization_losses: Graph | None = None
    regularized: tuple[tuple[str, ...], ...] = ()
    update_ops: tuple[str, ...] = ()
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    assets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """Everything that a folder or file says, as plain data.

    Attributes:
        format: "tf2_saved_model", "tf1_saved_model", "tf1_hub" or "frozen_graph".
        metagraphs: in the order of the file.
        variables: by `key`; shared by all metagraphs; in the order in which the publisher lists them.
        files: the artifact's small files (everything but the weights' shards), relative name -> bytes: enough, together
            with the values of the variables, to read it again without the original (`formats.read(MemoryFiles(files))`).
        provenance: what is known of its making: producer versions, fingerprint; for reports.
    """

    format: str
    metagraphs: tuple[MetaGraph, ...]
    variables: Mapping[str, VariableSource]
    files: Mapping[str, bytes]
    provenance: Mapping[str, str] = field(default_factory=dict)
