"""Choosing what trains, and making a change of flags take effect at any time, on any Keras 3 model.

    select.py       the selection language: what is picked
    flags.py        freeze, unfreeze, only_training; the present choice as a value
    optimizer.py    carries an optimizer's moments over to another set of variables
    update.py       own counts of steps and multiples of the learning rate, variable by variable
    memory.py       what is remembered of an optimizer
    watch.py        makes a model look at its flags before every step
    checkpoint.py   keeps choice and parked moments inside saved files
    hooks.py        the only file that touches Keras' own internals

It knows nothing of artifacts, graphs or thaw.KerasLayer, and imports only errors.
"""
