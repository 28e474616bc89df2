"""Pretrained TensorFlow-era models as Keras 3 models: seen, chosen, trained and saved, on JAX, PyTorch or TensorFlow."""

from thaw.errors import ThawError
from thaw.inspection import inspect
from thaw.layer import KerasLayer
from thaw.load import load, resolve

__version__ = "0.1.0"

__all__ = ["KerasLayer", "ThawError", "inspect", "load", "resolve"]
