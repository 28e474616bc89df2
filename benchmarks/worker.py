"""One side of one comparison, in a process of its own: prints one JSON line.

    python benchmarks/worker.py SIDE ARTIFACT FOLDER

SIDE: "thaw" and "native" run on the backend that KERAS_BACKEND names, "hub" is hub.KerasLayer on tf_keras, "raw" is
tf.saved_model.load under tf.function, "tfsm" is keras.layers.TFSMLayer, "tf2jax" is that converter under jax.jit. All train
everything, head included, by SGD or what the artifact names. Each figure is a list of samples, of a clock that BENCH_CLOCK
chooses: "cpu", the process's own time, for one thread on a machine that others use too; "wall" else. Memory is the peak of
resident pages in that phase.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIDE, NAME, FOLDER = sys.argv[1:4]
CLOCK = time.process_time if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter
RATE = 1e-3
EPOCHS = 5
"""Of each timed call of `fit`."""


def peak():
    """MiB at most since the last call of `reset`."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def reset():
    Path("/proc/self/clear_refs").write_text("5")


def timed(function):
    start = CLOCK()
    found = function()
    return CLOCK() - start, found


def repeated(function, seconds):
    """Samples: at least three (the first after compiling still takes new pages), then as many of ten as the time allows."""
    samples = []
    while len(samples) < 3 or (len(samples) < 10 and sum(samples) < seconds):
        samples.append(timed(function)[0])
    return samples


class Keras:
    """A layer in a Keras model with a head: thaw, native Keras, hub.KerasLayer, TFSMLayer."""

    def __init__(self):
        if SIDE == "hub":
            import tensorflow_hub
            import tf_keras as keras

            self.make = lambda a: tensorflow_hub.KerasLayer(FOLDER, trainable=True, **a.layer)
        else:
            import keras

            self.make = lambda a: a.native()
            if SIDE == "tfsm":
                self.make = lambda a: keras.layers.TFSMLayer(FOLDER, call_endpoint="__call__", call_training_endpoint="__call__")
        self.keras = keras
        if SIDE == "thaw":
            self.import_thaw, thaw = timed(lambda: __import__("thaw"))
            self.make = lambda a: thaw.KerasLayer(FOLDER, trainable=True, **a.layer)

    def load(self, artifact):
        self.layer = self.make(artifact)
        if os.environ["KERAS_BACKEND"] == "jax" and SIDE != "hub":
            import jax

            jax.block_until_ready([v.value for v in self.layer.variables])

    def ready(self, artifact):
        """What no column counts."""
        keras = self.keras
        if SIDE == "thaw" and artifact.prepare:
            artifact.prepare(self.layer)
        self.model = keras.Sequential([keras.Input(**artifact.input), self.layer, keras.layers.Dense(5)])
        optimizer = getattr(keras.optimizers, artifact.optimizer)(RATE)
        self.model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def predict(self, x):
        return self.model.predict_on_batch(x)

    def step(self, x, y):
        return self.model.train_on_batch(x, y)

    def fit(self, x, y, batch, epochs):
        return self.model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)


class Raw:
    """tf.saved_model.load and two tf.functions."""

    def __init__(self):
        import tensorflow as tf

        self.tf = tf

    def load(self, artifact):
        self.module = self.tf.saved_model.load(FOLDER, tags=artifact.tags)

    def ready(self, artifact):
        tf, module = self.tf, self.module
        kernel, bias = tf.Variable(tf.random.normal((artifact.output[-1], 5)) * 0.01), tf.Variable(tf.zeros(5))
        calls = {training: artifact.raw(module, training) for training in (True, False)}
        variables = [*module.trainable_variables, kernel, bias]

        def logits(x, training):
            return tf.tensordot(calls[training](x), kernel, 1) + bias

        @tf.function
        def predict(x):
            return logits(x, False)

        @tf.function
        def step(x, y):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits(x, True)))
            for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
                if isinstance(gradient, tf.IndexedSlices):
                    variable.scatter_sub(tf.IndexedSlices(gradient.values * RATE, gradient.indices))
                elif gradient is not None:
                    variable.assign_sub(gradient * RATE)
            return loss

        self.predict = lambda x: predict(tf.constant(x)).numpy()
        self.step = lambda x, y: float(step(tf.constant(x), tf.constant(y)))


class Tf2Jax:
    """The converted functions under jax.jit; needs TensorFlow to load and convert."""

    def __init__(self):
        import jax
        import tensorflow as tf
        import tf2jax

        self.jax, self.tf, self.tf2jax = jax, tf, tf2jax

    def load(self, artifact):
        x, _ = artifact.data()
        module = self.tf.saved_model.load(FOLDER, tags=artifact.tags)

        # Its conversion of the training variant fails on moving statistics ("Some updated parameters are lost").
        self.function, parameters = self.tf2jax.convert(self.tf.function(artifact.raw(module, False)), x)
        self.parameters = self.jax.device_put(dict(parameters))
        self.jax.block_until_ready(self.parameters)

    def ready(self, artifact):
        import jax
        from jax import numpy as jnp

        head = (jnp.zeros((artifact.output[-1], 5)), jnp.zeros(5))
        state = [self.parameters, head]

        def logits(trained, x):
            return self.function(trained[0], x)[0] @ trained[1][0] + trained[1][1]

        def loss(trained, x, y):
            return -jnp.take_along_axis(jax.nn.log_softmax(logits(trained, x)), y[..., None], -1).mean()

        @jax.jit
        def step(trained, x, y):
            value, gradient = jax.value_and_grad(loss)(trained, x, y)
            return value, jax.tree.map(lambda v, g: v - RATE * g, trained, gradient)

        predict = jax.jit(logits)

        def train(x, y):
            value, state[:] = step(state, x, y)
            return float(value)

        self.predict = lambda x: jax.device_get(predict(state, x))
        self.step = train


def fitted(side, artifact):
    """Samples: seconds a step in calls of `fit`, after one that does not count."""
    import numpy as np

    x = artifact.inputs(artifact.batch * artifact.epoch)
    y = np.resize(artifact.data()[1], (len(x), *artifact.output[:-1]))
    side.fit(x, y, artifact.batch, 1)
    return [timed(lambda: side.fit(x, y, artifact.batch, EPOCHS))[0] / (EPOCHS * artifact.epoch) for _ in range(3)]


def main():
    found = {}
    spent, side = timed({"raw": Raw, "tf2jax": Tf2Jax}.get(SIDE, Keras))
    found["import"] = [spent]
    if SIDE == "thaw":
        found["import_thaw"] = [side.import_thaw]
    from artifacts import artifacts

    artifact = artifacts()[NAME]
    x, y = artifact.data()
    reset()
    found["load"] = [timed(lambda: side.load(artifact))[0]]
    found["memory_load"] = [peak()]
    side.ready(artifact)
    reset()
    found["first_prediction"] = [timed(lambda: side.predict(x))[0]]
    found["prediction"] = repeated(lambda: side.predict(x), artifact.seconds)
    found["memory_prediction"] = [peak()]
    print("RESULT " + json.dumps(found), flush=True)  # stands also where the side cannot train
    reset()
    found["first_step"] = [timed(lambda: side.step(x, y))[0]]
    found["step"] = repeated(lambda: side.step(x, y), artifact.seconds)
    found["memory_step"] = [peak()]
    if artifact.epoch and isinstance(side, Keras):
        found["fit"] = fitted(side, artifact)
    print("RESULT " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
