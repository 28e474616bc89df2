"""Pretrained TensorFlow-era models as Keras 3 models: seen, chosen, trained and saved, on JAX, PyTorch or TensorFlow."""

__version__ = "0.1.0"
