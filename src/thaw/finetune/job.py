"""The main job: fine-tune a module on data, and leave a folder that explains itself.

    OUT/model.keras     the model, self-contained
    OUT/classes.json    names of the classes by index
    OUT/history.csv     one row an epoch
    OUT/curves.png      the same as a picture
    OUT/report.md       what was done, with what, and how well it went
    OUT/checkpoint/     what `resume` goes on from; gone once the job is done
    OUT/start.npz       where the module started, for `resume` too

Training is Keras' own `fit`. Every file is written beside its place and moved there, so that nothing half-written is left.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras

from thaw.errors import DataMismatchError, HubArgumentError, OutputFolderError, listed
from thaw.finetune import data as data_module
from thaw.finetune import drift as drift_module
from thaw.finetune import fitting
from thaw.finetune.drift import Drift, Start
from thaw.finetune.schedule import layerwise_decay
from thaw.graph.tap import penultimate
from thaw.layer import KerasLayer
from thaw.report import curves
from thaw.trainable import flags, select
from thaw.trainable.nearness import stay_near
from thaw.trainable.watch import multiply_rates, recompile, watch

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16", "float64")
START = "start.npz"


@dataclass(frozen=True)
class Options:
    """How to fine-tune; every field has a default that suits a few hundred to a few thousand examples.

    Attributes:
        epochs: passes over the training examples.
        batch_size: examples a step.
        learning_rate: Adam's; None: 1e-3 while only the head trains, 1e-4 with anything of the module.
        unfreeze: patterns of what trains in the module besides the head ("*" for all that the publisher advised).
        probe_epochs: epochs in which the head trains alone before `unfreeze` takes effect.
        seed: of initial weights, order of examples, dropout, split.
        split: share of each class held out for validation, where there is no validation set.
        label: the table's column of labels.
        text: the table's column of texts.
        validation: path of a validation set.
        image_size: side of images, pixels, for a module that leaves it open.
        value_range: lowest and highest pixel value, where the module's own is not to be believed.
        signature: of the artifact; None for its `__call__` or default.
        output_key: output of the signature that the head stands on.
        features: name of the tensor that the head stands on; None: what feeds the module's last dense layer, else its output.
        batch_norm: as in KerasLayer.
        dtype_policy: what the module computes in: "float32", "mixed_bfloat16", "mixed_float16" (with loss scaling) or "float64";
            the head stays float32.
        keep: strength with which what trains in the module is pulled to where it started (`thaw.stay_near`).
        layer_decay: multiple of the learning rate from each layer of the module to the next lower (`thaw.layerwise_decay`).
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float | None = None
    unfreeze: tuple[str, ...] = ()
    probe_epochs: int = 0
    seed: int = 0
    split: float = 0.2
    label: str = "label"
    text: str | None = None
    validation: str | None = None
    image_size: int | None = None
    value_range: tuple[float, float] | None = None
    signature: str | None = None
    output_key: str | None = None
    features: str | None = None
    batch_norm: str = "auto"
    dtype_policy: str = "float32"
    keep: float = 0.0
    layer_decay: float = 1.0

    @property
    def rate(self) -> float:
        """Adam's learning rate."""
        return self.learning_rate if self.learning_rate is not None else (1e-4 if self.unfreeze else 1e-3)


@dataclass
class Progress:
    """How far a job has come: what a checkpoint holds beside the model."""

    handle: str
    data: str
    options: dict[str, Any]
    classes: list[str] = field(default_factory=list)
    epochs_done: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """What a job gave.

    Attributes:
        model: the model, compiled.
        history: one dict of figures an epoch.
        classes: the names of the classes.
        finished: whether it ran to its end.
        folder: where everything lies.
        drift: how far the module moved from where it started; None where nothing of it was to train.
    """

    model: keras.Model
    history: list[dict[str, float]]
    classes: tuple[str, ...]
    finished: bool
    folder: Path
    drift: Drift | None = None


def finetune(
    handle: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    verbose: int | str = 1,
) -> Result:
    """Fine-tunes the module behind `handle` on the data at `data`, into the folder `out`.

    Args:
        handle: of the module.
        data: a folder of class subfolders of images, or a table; see `thaw.finetune.data.read_data`.
        out: folder for the results; new or empty, unless `resume`.
        options: how; see `Options`.
        resume: go on from the checkpoint in `out`, with the options that it was started with.
        say: takes lines for the user.
        verbose: of Keras' progress bar.

    Returns:
        The result. After Ctrl-C it holds what there was at that moment, saved like a finished one, and the checkpoint stays.

    Raises:
        ThawError: handle, data or output folder cannot be used; nothing half-written is left behind.
    """
    curves.figure_class()  # said now, not after hours of training
    folder = Path(out)
    new = not folder.exists()
    progress = _open_folder(folder, str(os.fspath(handle)), str(os.fspath(data)), options or Options(), resume, say)
    options = _options(progress.options)
    keras.utils.set_random_seed(options.seed)
    examples = data_module.read_data(
        progress.data,
        label=options.label,
        text=options.text,
        validation=options.validation,
        split=options.split,
        seed=options.seed,
    )
    say(
        f"{len(examples.train)} examples to train on, {len(examples.validation)} to validate with, "
        f"{len(examples.classes)} classes"
    )
    if examples.train.kind == "numbers":
        say(f"columns: {', '.join(examples.train.inputs)}")
    if progress.classes and progress.classes != list(examples.classes):
        raise DataMismatchError(
            f"The data in {progress.data!r} have other classes than when this job was started",
            f"{len(progress.classes)} classes, {listed(progress.classes)}",
            "Put the data back, or start a new job in a new folder",
        )
    progress.classes = list(examples.classes)
    model, layer = _model(progress, options, folder, len(examples.classes), examples.train)
    want = fitting.wanted(layer, image_size=options.image_size, value_range=options.value_range)
    make = fitting.make_inputs(want, examples.train, layer)
    if isinstance(make, data_module.Images):
        from rich.console import Console
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        with Bar(transient=True, console=console, disable=not (verbose and console.is_terminal)) as bar:
            task = bar.add_task("reading images", total=len(examples.train) + len(examples.validation))
            for part in (examples.train, examples.validation):
                make.check(part.inputs, lambda n: bar.advance(task, n))
    train = data_module.Batches(examples.train, make, options.batch_size, shuffle=True, seed=options.seed)
    held = data_module.Batches(examples.validation, make, options.batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    if not progress.epochs_done:
        _note(folder / "checkpoint", progress)
    start = _start(folder, model, layer, held, options, progress, say)
    keeper = _Keeper(folder, progress, options, train, layer)
    finished = True
    started = time.perf_counter()
    try:
        if progress.epochs_done < options.epochs:
            keeper.set_flags(progress.epochs_done, model)
            model.fit(
                train,
                validation_data=held if len(held) else None,
                epochs=options.epochs,
                initial_epoch=progress.epochs_done,
                callbacks=[keeper],
                shuffle=False,
                verbose=verbose,
            )
    except KeyboardInterrupt:
        finished = False
        say(f"interrupted in epoch {progress.epochs_done + 1}; saving what there is")
    except Exception:
        if not progress.epochs_done:  # nothing was learnt: nothing is left behind
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
            (folder / START).unlink(missing_ok=True)
            if new:
                shutil.rmtree(folder)
        raise
    seconds = time.perf_counter() - started
    drift = drift_module.measure(model, layer, held, start) if start is not None else None
    _write_results(folder, model, layer, progress, options, examples, finished, seconds, drift)
    if finished:
        (folder / START).unlink(missing_ok=True)
        for name in ("checkpoint", "checkpoint.new", "checkpoint.old"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return Result(model, progress.history, examples.classes, finished, folder, drift)


def _start(
    folder: Path,
    model: keras.Model,
    layer: KerasLayer,
    held: data_module.Batches,
    options: Options,
    progress: Progress,
    say: Callable[[str], None],
) -> Start | None:
    """Where the module started, from the folder if the job is resumed; what is to hold it there, and at what rates it trains."""
    if not options.unfreeze:
        return None
    if options.layer_decay != 1.0:
        multiply_rates(model, layerwise_decay(model, options.layer_decay))
    start = Start.load(folder / START) if progress.epochs_done else drift_module.begin(model, layer, held)
    if start is None:
        if options.keep:
            raise OutputFolderError(folder, f"lacks {START}, the weights to keep near to", "Start the job anew in a new folder")
        say(f"{START} is gone: how far the module moves cannot be told")
    elif not progress.epochs_done:
        start.save(folder / START)
    if options.keep and start is not None:
        stay_near(layer, options.keep, start=start.weights)
        recompile(model)
    return start


def _options(stored: dict[str, Any]) -> Options:
    """Options that went through JSON."""
    fields = dict(stored)
    fields["unfreeze"] = tuple(fields["unfreeze"])
    fields["value_range"] = tuple(fields["value_range"]) if fields["value_range"] else None
    return Options(**fields)


def _open_folder(folder: Path, handle: str, data: str, options: Options, resume: bool, say: Callable[[str], None]) -> Progress:
    """A new job, or the one in `folder`."""
    state = folder / "checkpoint" / "progress.json"
    if resume:
        former = folder / "checkpoint.old"
        if former.is_dir() and not state.is_file():  # killed between the two moves of `save_checkpoint`
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
            former.rename(folder / "checkpoint")
        if not state.is_file():
            if (folder / "report.md").is_file():
                raise OutputFolderError(folder, "holds a finished job", "There is nothing to resume")
            if folder.exists() and any(folder.iterdir()):
                raise OutputFolderError(
                    folder, "holds no checkpoint to resume from", "Start the job without --resume in a new folder"
                )
            return Progress(handle, data, asdict(options))  # killed before its first epoch ended: from the start
        found = Progress(**json.loads(state.read_text()))
        asked = {"handle": handle, "data": data, **asdict(options)}
        begun = {"handle": found.handle, "data": found.data, **asdict(_options(found.options))}
        usual = asdict(Options())
        other = [name for name, value in asked.items() if value not in (begun[name], usual.get(name, begun[name]))]
        if other:
            say(f"going on with the job as it was started; ignored: {', '.join(other)}")
        return found
    if folder.exists() and not folder.is_dir():
        raise OutputFolderError(folder, "is a file", "Name another folder")
    if folder.exists() and any(folder.iterdir()):
        there = "holds an unfinished job" if state.is_file() else "is not empty"
        raise OutputFolderError(folder, there, "Name another folder, or add --resume to go on with an unfinished job")
    return Progress(handle, data, asdict(options))


def _model(
    progress: Progress, options: Options, folder: Path, classes: int, examples: data_module.Examples
) -> tuple[keras.Model, KerasLayer]:
    """The compiled model and the module in it: from the checkpoint where there is one."""
    checkpoint = folder / "checkpoint" / "model.keras"
    if progress.epochs_done and checkpoint.is_file():
        model = keras.saving.load_model(checkpoint)
        layer = next(x for x in model.layers if isinstance(x, KerasLayer))
        watch(model)
        return model, layer
    layer = _module(progress.handle, options)
    if options.unfreeze:
        select.select(layer, *_patterns(options.unfreeze))  # a pattern that matches nothing is said before any work
    want = fitting.wanted(layer, image_size=options.image_size, value_range=options.value_range)
    fitting.make_inputs(want, examples, layer)
    columns = len(examples.inputs) if examples.kind == "numbers" else None
    model = fitting.with_head(layer, want, classes, columns)
    optimizer = keras.optimizers.Adam(options.rate)
    if options.dtype_policy == "mixed_float16":  # Keras adds it by itself only where the whole model is of that policy
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    watch(model)
    return model, layer


def _module(handle: str, options: Options) -> KerasLayer:
    """The module; of a classifier, up to what feeds its last dense layer: its own classes say little about new ones."""
    if options.dtype_policy not in POLICIES:
        raise HubArgumentError(f"The dtype policy is {options.dtype_policy!r}", f"one of {listed(POLICIES)}", "Pass one of these")

    def made(outputs: str | None) -> KerasLayer:
        return KerasLayer(
            handle,
            signature=options.signature,
            output_key=options.output_key,
            signature_outputs_as_dict=True if options.signature and not options.output_key else None,
            batch_norm=options.batch_norm,
            dtype=options.dtype_policy,
            outputs=outputs,
            name="module",
        )

    layer = made(options.features)
    if options.features is None and options.output_key is None:
        features = penultimate(layer.program.serving_variants[0].inference)
        if features is not None:
            cut = made(f"{features.node}:{features.output}")
            if cut.source_variables:  # else its last dense layer is all that it has
                return cut
    return layer


def _patterns(texts: Sequence[str]) -> list[Any]:
    return [select.from_text(text) for text in texts]


class _Keeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets flags, order and seeds as each epoch begins, and saves the state as it ends: so any epoch can be gone on from."""

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        options: Options,
        train: data_module.Batches,
        layer: KerasLayer,
    ) -> None:
        super().__init__()
        self.folder, self.progress, self.options, self.train, self.layer = folder, progress, options, train, layer
        self.began = time.perf_counter()

    def set_flags(self, epoch: int, model: keras.Model) -> None:
        """What trains in that epoch."""
        if epoch < self.options.probe_epochs or not self.options.unfreeze:
            self.layer.trainable = False
        elif epoch == self.options.probe_epochs or not self.layer.trainable:
            if list(self.options.unfreeze) == ["*"]:
                self.layer.trainable = True
            if list(self.options.unfreeze) != ["*"] or not self.layer.trainable:
                flags.unfreeze(self.layer, *_patterns(self.options.unfreeze), batch_norm=self.options.batch_norm != "frozen")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()
        self.train.begin(epoch)
        self.set_flags(epoch, self.model)
        for number, variable in enumerate(_seed_states(self.model)):
            variable.assign([(self.options.seed + 7919 * number) % 2**32, epoch])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.progress.epochs_done = epoch + 1
        figures = {key: float(value) for key, value in (logs or {}).items()}
        seconds = round(time.perf_counter() - self.began, 2)
        self.progress.history.append({"epoch": epoch + 1, **figures, "seconds": seconds})
        curves.write_csv(self.folder / "history.csv", self.progress.history)
        save_checkpoint(self.folder / "checkpoint", self.model, self.progress)


def _seed_states(model: keras.Model) -> list[Any]:
    """The state variables of the model's seed generators, in a fixed order."""
    return sorted((v for v in model.variables if v.name == "seed_generator_state"), key=lambda v: v.path)


def _note(folder: Path, progress: Progress) -> None:
    """Writes down that a job has begun, so that it can be gone on with even when it is killed in its first epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "progress.partial"
    partial.write_text(json.dumps(asdict(progress)))
    partial.replace(folder / "progress.json")


def save_checkpoint(folder: Path, model: keras.Model, progress: Progress) -> None:
    """Writes model (optimizer included) and progress beside their place and moves the whole folder there."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    model.save(fresh / "model.keras")
    (fresh / "progress.json").write_text(json.dumps(asdict(progress)))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _write_results(
    folder: Path,
    model: keras.Model,
    layer: KerasLayer,
    progress: Progress,
    options: Options,
    examples: data_module.Data,
    finished: bool,
    seconds: float,
    drift: Drift | None,
) -> None:
    partial = folder / "model.partial.keras"
    model.save(partial)
    partial.replace(folder / "model.keras")
    (folder / "classes.json").write_text(json.dumps(list(examples.classes), indent=1) + "\n")
    curves.write_csv(folder / "history.csv", progress.history)
    curves.draw(folder / "curves.png", {"": progress.history})
    (folder / "report.md").write_text(_report(model, layer, progress, options, examples, finished, seconds, drift))


def _report(
    model: keras.Model,
    layer: KerasLayer,
    progress: Progress,
    options: Options,
    examples: data_module.Data,
    finished: bool,
    seconds: float,
    drift: Drift | None,
) -> str:
    """The job in Markdown."""
    trains = sum(_size(v) for v in model.trainable_variables)
    every = sum(_size(v) for v in model.variables)
    last = progress.history[-1] if progress.history else {}
    best = max(progress.history, key=lambda row: row.get("val_accuracy", row.get("accuracy", 0.0)), default={})
    lines = [
        f"# Fine-tuning {progress.handle}",
        "",
        (
            f"{'Finished' if finished else 'Interrupted'} after {progress.epochs_done} of {options.epochs} epochs; "
            f"this run took {seconds:.0f} s."
        ),
        "",
        "| what | value |",
        "|---|---|",
        f"| data | {progress.data} |",
        f"| examples | {len(examples.train)} to train on, {len(examples.validation)} to validate with |",
        f"| classes | {', '.join(examples.classes[:20])}{' ...' if len(examples.classes) > 20 else ''} |",
        f"| backend | {keras.backend.backend()}, Keras {keras.__version__} |",
        f"| trains | {', '.join(['head', *options.unfreeze])}: {trains:,} of {every:,} numbers |",
        f"| batch size, learning rate, seed | {options.batch_size}, {options.rate:g}, {options.seed} |",
    ]
    if options.keep and options.unfreeze:
        lines.append(f"| kept near to its start | with strength {options.keep:g}, which is a part of the loss |")
    if options.layer_decay != 1.0 and options.unfreeze:
        lines.append(f"| learning rate of lower layers | {options.layer_decay:g} times that of the next higher |")
    times = [row["seconds"] for row in progress.history if "seconds" in row]
    if times:
        later = f", {sorted(times[1:])[len(times[1:]) // 2]:.1f} later (median)" if times[1:] else ""
        lines.append(f"| seconds an epoch, with validation | {times[0]:.1f} the first{later} |")
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        if key in last:
            lines.append(f"| {key}, last epoch | {last[key]:.4f} |")
    if "val_accuracy" in best:
        lines.append(f"| best val_accuracy | {best['val_accuracy']:.4f} in epoch {best['epoch']:.0f} |")
    lines += [
        "",
        "![curves](curves.png)",
        "",
        *(drift_module.lines(drift) if drift is not None else ()),
        "```python",
        "import keras, thaw",
        'model = keras.saving.load_model("model.keras")',
        "```",
        "",
    ]
    return "\n".join(lines)


def _size(variable: Any) -> int:
    total = 1
    for n in variable.shape:
        total *= int(n)
    return total
