"""What the tests run on: the suite also runs on a GPU, where a few answers are not to be had."""

import keras


def on_gpu() -> bool:
    """Whether the running backend computes on a GPU."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
