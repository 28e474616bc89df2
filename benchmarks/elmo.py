"""ELMo: a TF1 Hub module with a character CNN and four LSTMs in loops of TensorFlow 1; 768 words a step.

The artifact is not built but taken from THAW_ELMO (a folder, or an archive of one), or from ../shared beside the repository;
where neither is there, so are no rows. The peers are elmo_graph.py's: no other software gives gradients of such a module. The one
of TensorFlow 1.15 needs its own Python, named by THAW_TF1_PYTHON (3.7, with tensorflow==1.15.5 and tensorflow-hub==0.12.0).
"""

import os
import shutil
import sys
from pathlib import Path

from artifacts import Artifact, Peer
from elmo_graph import SENTENCES, WIDTH, sentences

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared" / "models" / "made_tf1hub_elmo_mid" / "model.tar.gz"
NO_GRADIENTS = "no gradients ('NoneType' object has no attribute 'outer_context')"


def source():
    """Where the module lies, or None."""
    given = os.environ.get("THAW_ELMO")
    place = Path(given) if given else SHARED
    return place if place.exists() else None


def build(folder):
    place = source()
    if place.is_dir():
        shutil.copytree(place, folder)
    else:
        shutil.unpack_archive(place, folder, filter="data")


def everything(layer):
    import thaw

    thaw.unfreeze(layer, left_out=True)


def peers():
    script = str(HERE / "elmo_graph.py")
    found = {"v1": Peer("compat.v1 graph mode", (sys.executable, script))}
    if os.environ.get("THAW_TF1_PYTHON"):
        found["tf1"] = Peer("hub.Module, TensorFlow 1.15", (os.environ["THAW_TF1_PYTHON"], script))
    return found


def artifact(name, prepare):
    absent = {} if os.environ.get("THAW_TF1_PYTHON") else {"tf1": "THAW_TF1_PYTHON names no Python with TensorFlow 1.15"}
    return Artifact(
        name=name,
        batch=SENTENCES,
        input={"shape": (), "dtype": "string"},
        output=(WIDTH,),
        build=build,
        inputs=sentences,
        native=None,
        layer={"signature": "default", "output_key": "default"},
        without={
            **dict.fromkeys(("hub", "raw", "tfsm"), NO_GRADIENTS),
            "tf2jax": "no strings, no loops of TensorFlow 1",
            **absent,
        },
        peers=peers(),
        prepare=prepare,
        seconds=6.0,
    )


ARTIFACTS = [artifact("elmo", everything), artifact("elmo-scalars", None)] if source() else []
