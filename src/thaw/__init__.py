"""Pretrained TensorFlow-era models as Keras 3 models: seen, chosen, trained and saved, on JAX, PyTorch or TensorFlow."""

from thaw.allocator import tune_allocator
from thaw.compilation_cache import keep_compiled
from thaw.errors import ThawError
from thaw.explanation import explain
from thaw.export import export
from thaw.finetune.schedule import Phase, gradual_unfreezing, layerwise_decay, probe_then_full, schedule
from thaw.inspection import inspect
from thaw.layer import KerasLayer
from thaw.load import load, resolve
from thaw.mending import relax
from thaw.model_file import load_model
from thaw.profiling import profile
from thaw.trainable.flags import freeze, only_training, trainable, unfreeze
from thaw.trainable.nearness import stay_near
from thaw.trainable.select import all_of, any_of, not_, select
from thaw.trainable.watch import multiply_rates, recompile, unwatch, watch

__version__ = "0.1.0"

__all__ = [
    "KerasLayer",
    "Phase",
    "ThawError",
    "all_of",
    "any_of",
    "explain",
    "export",
    "freeze",
    "gradual_unfreezing",
    "inspect",
    "keep_compiled",
    "layerwise_decay",
    "load",
    "load_model",
    "multiply_rates",
    "not_",
    "only_training",
    "probe_then_full",
    "profile",
    "recompile",
    "relax",
    "resolve",
    "schedule",
    "select",
    "stay_near",
    "trainable",
    "tune_allocator",
    "unfreeze",
    "unwatch",
    "watch",
]
