"""One side of one comparison, in a process of its own: prints one JSON line of seconds and MiB.

    python benchmarks/worker.py SIDE ARTIFACT FOLDER

SIDE: "thaw" and "native" run on the backend that KERAS_BACKEND names; "hub" is hub.KerasLayer on tf_keras. Measured: import of
the framework (until the layer class is there), load (until the weights are on the device), first prediction (tracing and
compiling included), prediction (median), first training step, training step (median; everything trained, SGD, batch
statistics), peak memory.
"""
# ruff: noqa: E402 - imports are what is measured

import json
import os
import resource
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
side, name, folder = sys.argv[1:4]
REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
result = {"side": side, "artifact": name, "backend": os.environ.get("KERAS_BACKEND", "")}
clock = time.perf_counter


def since(start):
    return clock() - start


start = clock()
if os.environ.get("BENCH_ALLOCATOR") == "tuned":
    # The documented call of a user who wants it, made by hand: before any framework starts its threads.
    import ctypes

    libc = ctypes.CDLL("libc.so.6")
    for option, value in ((-8, 1), (-4, 0), (-1, -1), (-2, 64 << 20)):
        libc.mallopt(option, value)
if side == "hub":
    import tensorflow_hub as hub
    import tf_keras as keras
else:
    import keras

    result["import_keras"] = since(start)
    if side == "thaw":
        import thaw
result["import"] = since(start)

import numpy as np
from artifacts import SPECS, batch, native

x, y = batch(name)
start = clock()
if side == "hub":
    layer = hub.KerasLayer(folder, trainable=True)
elif side == "thaw":
    layer = thaw.KerasLayer(folder, trainable=True)
else:
    layer = native(name)
result["load"] = since(start)

model = keras.Sequential([keras.Input(SPECS[name]["shape"]), layer, keras.layers.Dense(5)])
model.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
start = clock()
model.predict_on_batch(x)
result["first_prediction"] = since(start)
times = []
for _ in range(REPEATS):
    start = clock()
    np.asarray(model.predict_on_batch(x))
    times.append(since(start))
result["prediction"] = statistics.median(times)
result["memory_inference"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = clock()
model.train_on_batch(x, y)
result["first_step"] = since(start)
times = []
for _ in range(REPEATS):
    start = clock()
    float(np.asarray(model.train_on_batch(x, y)).ravel()[0])
    times.append(since(start))
result["step"] = statistics.median(times)
result["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print("RESULT " + json.dumps(result))
