"""`make demo`: the main job on the embedded sample, in about a minute on one core.

A small module (samples/digits, a TF2 SavedModel trained on digits 0 to 4) is fine-tuned onto digits 5 to 9 in three ways: a
linear probe; the probe for ten epochs and then everything, in one `fit`; and everything from scratch. Then it is asked about the
old digits again, through the linear head that read them off before: what fine-tuning forgot. No TensorFlow is needed.

    python tools/demo.py [--output FOLDER]
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.datasets import load_digits

import thaw
from thaw.report import curves
from thaw.report.inspection import render

MODULE = Path(__file__).parents[1] / "samples" / "digits"
EPOCHS = 30
EXAMPLES = 20
"""New digits of each kind to learn from: with hundreds, a net this small learns as well from scratch."""

WAYS = {
    "linear probe": {"trainable": False, "rate": 1e-2},
    "full fine-tuning": {"trainable": False, "rate": 1e-2, "thaw_at": 10},
    "from scratch": {"trainable": True, "rate": 1e-3, "scratch": True},
}


def digits(low, high):
    """Images (n, 8, 8, 1) in [0, 1] and labels from 0, for digits low <= d < high: (training, held out) by position."""
    data = load_digits()
    images = (data.images / 16.0).astype("float32")[..., None]
    wanted = (data.target >= low) & (data.target < high)
    images, labels = images[wanted], (data.target[wanted] - low).astype("int32")
    held = np.arange(len(labels)) % 5 == 0  # the fifth that tools/make_digits_module.py held out too
    return (images[~held], labels[~held]), (images[held], labels[held])


def classifier(layer, rate):
    """The module with a linear head for five classes."""
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Dense(5, name="head")])
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def forget_everything(layer):
    """Fresh weights: He's normal for kernels, ones and zeros for what normalizes and shifts."""
    random = np.random.default_rng(0)
    for name, variable in layer.source_variables.items():
        if name.endswith("kernel"):
            fan_in = int(np.prod(variable.shape[:-1]))
            variable.assign(random.normal(0.0, (2.0 / fan_in) ** 0.5, variable.shape))
        else:
            fill = np.ones if name.endswith(("gamma", "variance")) else np.zeros
            variable.assign(fill(variable.shape, "float32"))


class Tick(keras.callbacks.Callback):
    """Moves a progress bar."""

    def __init__(self, bar, task):
        super().__init__()
        self.bar, self.task = bar, task

    def on_epoch_end(self, epoch, logs=None):
        self.bar.advance(self.task)


class ThawAt(keras.callbacks.Callback):
    """Thaws the module at the beginning of an epoch, in the middle of `fit`: the optimizer goes on, at a tenth of its rate."""

    def __init__(self, layer, epoch):
        super().__init__()
        self.layer, self.epoch = layer, epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.layer.trainable = True
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) / 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    keras.utils.set_random_seed(0)
    (old, old_labels), (old_held, old_held_labels) = digits(0, 5)
    (new, new_labels), (new_held, new_held_labels) = digits(5, 10)
    few = np.concatenate([np.flatnonzero(new_labels == label)[:EXAMPLES] for label in range(5)])
    new, new_labels = new[few], new_labels[few]
    console.print(render(thaw.inspect(MODULE)))
    with Progress(
        TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("a head for the old digits", total=EPOCHS)
        reader = classifier(thaw.KerasLayer(MODULE), 1e-2)
        reader.fit(old, old_labels, epochs=EPOCHS, batch_size=64, verbose=0, callbacks=[Tick(bar, task)])
        before = reader.evaluate(old_held, old_held_labels, verbose=0)[1]
        rows, histories, models = {}, {}, {}
        for name, way in WAYS.items():
            task = bar.add_task(name, total=EPOCHS)
            layer = thaw.KerasLayer(MODULE, trainable=way["trainable"])
            if way.get("scratch"):
                forget_everything(layer)
            model = models[name] = classifier(layer, way["rate"])
            trained = model.fit(
                new,
                new_labels,
                validation_data=(new_held, new_held_labels),
                epochs=EPOCHS,
                batch_size=16,
                verbose=0,
                callbacks=[Tick(bar, task), *([ThawAt(layer, way["thaw_at"])] if "thaw_at" in way else [])],
            ).history
            histories[name] = [
                {"epoch": i + 1, **{key: float(values[i]) for key, values in trained.items()}} for i in range(EPOCHS)
            ]
            features = layer(old_held)
            kept = np.mean(np.argmax(reader.layers[-1](features), -1) == old_held_labels)
            rows[name] = (trained["val_accuracy"][0], trained["val_accuracy"][-1], float(kept))
    table = Table(title=f"digits 5-9 by a module trained on digits 0-4 ({EXAMPLES} examples a digit)")
    for column in ("", "held-out 5-9, epoch 1", f"held-out 5-9, epoch {EPOCHS}", "kept of old 0-4"):
        table.add_column(column, justify="left" if not column else "right")
    for name, (first, last, kept) in rows.items():
        table.add_row(name, f"{first:.1%}", f"{last:.1%}", f"{kept:.1%}")
    console.print(table)
    console.print(f"The old digits were at {before:.1%} before: what the last column lacks of that is what was forgotten.")
    curves.draw(out / "curves.png", histories)
    models["full fine-tuning"].save(out / "model.keras")
    again = keras.saving.load_model(out / "model.keras")
    assert np.allclose(again.predict(new_held, verbose=0), models["full fine-tuning"].predict(new_held, verbose=0), atol=1e-5)
    console.print(f"wrote {out / 'curves.png'} and {out / 'model.keras'} (loads without the module)")


if __name__ == "__main__":
    main()
