"""Training in phases: what trains, at what rate, and until when; one `fit`, one history.

A schedule is a Keras callback. It sets flags and rates when a phase begins, which takes effect at the next step because the
model is watched. Its place in the phases goes into every file that the model is saved to, so that a run taken up again goes on
there.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import keras

from thaw.errors import ScheduleError
from thaw.trainable import checkpoint, flags
from thaw.trainable.select import Selection, What, select, survey
from thaw.trainable.watch import multiply_rates, watch


@dataclass(frozen=True)
class Phase:
    """One stretch of a training.

    Attributes:
        train: what trains, in the selection language of `thaw.select` (a list of several); None for everything, what publishers
            left out of training excepted.
        epochs: how many epochs it lasts; None where `steps` or `until` says so, or for the last phase.
        steps: how many steps it lasts.
        until: name of a metric in the logs ("val_loss"): it lasts until this has not improved for `patience` epochs.
        patience: epochs without improvement.
        min_delta: what counts as an improvement.
        learning_rate: set when the phase begins; None keeps it.
        rates: multiples of the learning rate by part, a mapping or pairs, as `thaw.multiply_rates` takes them.
        batch_norm: False keeps batch normalizations frozen, with their statistics, even where `train` means them.
    """

    train: Any = None
    epochs: int | None = None
    steps: int | None = None
    until: str | None = None
    patience: int = 1
    min_delta: float = 0.0
    learning_rate: float | None = None
    rates: Mapping[What, float] | Iterable[tuple[What, float]] = field(default_factory=dict)
    batch_norm: bool = True

    @property
    def ends(self) -> bool:
        """Whether it says when it ends."""
        return self.epochs is not None or self.steps is not None or self.until is not None


def schedule(model: keras.Model, phases: Sequence[Phase | Mapping[str, Any]]) -> "Schedule":
    """A callback that trains `model` in phases; watches the model.

    Args:
        model: a compiled Keras model; its optimizer may be any.
        phases: `thaw.Phase`s or dicts of their arguments. Every one but the last says when it ends.

    Returns:
        The callback. In the list of callbacks it belongs before those that save.

    Raises:
        ScheduleError: a phase before the last has no end, or there is none.
        SelectionError: a phase picks nothing; said before any training.

    Example:
        phases = [thaw.Phase("head", epochs=3), thaw.Phase(learning_rate=1e-5)]
        model.fit(data, epochs=10, callbacks=[thaw.schedule(model, phases)])
    """
    known = {f.name for f in fields(Phase)}
    made = []
    for phase in phases:
        if not isinstance(phase, Phase):
            unknown = sorted(set(phase) - known)
            if unknown:
                raise ScheduleError(f"A phase has the entries {unknown}", f"entries among {sorted(known)}", "Correct the names")
            phase = Phase(**phase)
        made.append(phase)
    if not made:
        raise ScheduleError("A schedule of no phase was asked for", "at least one phase", "Pass [thaw.Phase()]")
    for number, phase in enumerate(made[:-1], 1):
        if not phase.ends:
            raise ScheduleError(
                f"Phase {number} of {len(made)} does not say when it ends", "epochs=, steps= or until= in all but the last",
                f"Add epochs= to phase {number}",
            )  # fmt: skip
    for phase in made:
        if phase.train is not None:
            _selected(model, phase.train)
        multiples = phase.rates.items() if isinstance(phase.rates, Mapping) else phase.rates
        for what, _ in multiples:
            select(model, what)
    watch(model)
    kind = _SteppedSchedule if any(phase.steps is not None for phase in made) else Schedule
    return kind(model, made)


def _selected(model: keras.Model, what: Any) -> Selection:
    return select(model, *what) if isinstance(what, (list, tuple)) else select(model, what)


class Schedule(keras.callbacks.Callback):  # type: ignore[misc]
    """Phases at work; made by `thaw.schedule`.

    Attributes:
        phases: in order.
        index: which one it is in.
        begun: the epoch in which each phase so far began.
    """

    def __init__(self, model: keras.Model, phases: Sequence[Phase]) -> None:
        super().__init__()
        self.phases = tuple(phases)
        self._scheduled = model
        self._start()
        checkpoint.take_notes(model, self._note)

    def _start(self) -> None:
        self.index = 0
        self.begun = [0]
        self.step = 0  # of the training
        self._phase_step = 0  # in which the phase began
        self._best = math.nan
        self._wait = 0
        self._entered = False
        self._judged = -1  # the last epoch whose metric was looked at

    @property
    def phase(self) -> Phase:
        """The phase that it is in."""
        return self.phases[self.index]

    # What a saved file keeps

    def _note(self) -> dict[str, Any]:
        best = None if math.isnan(self._best) else self._best
        return {"schedule": {"index": self.index, "begun": self.begun, "step": self.step, "phase_step": self._phase_step,
                             "best": best, "wait": self._wait, "judged": self._judged}}  # fmt: skip

    def _take_up(self, note: Mapping[str, Any]) -> None:
        self.index = min(int(note["index"]), len(self.phases) - 1)
        self.begun = [int(n) for n in note["begun"]]
        self.step, self._phase_step = int(note["step"]), int(note["phase_step"])
        self._best = math.nan if note["best"] is None else float(note["best"])
        self._wait, self._judged = int(note["wait"]), int(note["judged"])

    # The callback

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts anew; where the model was restored from a file is found out at the first epoch."""
        self._start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Enters the phase of this epoch."""
        resumed = False
        if not self._entered:
            notes = checkpoint.recalled_notes(self._scheduled)
            if notes and "schedule" in notes and epoch > 0:
                self._take_up(notes["schedule"])
                resumed = True
                self._check_judged(epoch)
            elif epoch > 0:
                self._catch_up(epoch)
        before = self.index
        while self._over(epoch) and self.index + 1 < len(self.phases):
            self._next(epoch)
        if self.index != before or not self._entered:
            self._enter(keep_rate=resumed and self.index == before)

    def _check_judged(self, epoch: int) -> None:
        if self.phase.until is not None and self._judged < epoch - 1:
            raise ScheduleError(
                f"The file that the training is taken up from was written before the schedule had seen epoch {epoch}",
                "thaw.schedule to stand before the callbacks that save", "Put it first in `callbacks=`",
            )  # fmt: skip

    def _catch_up(self, epoch: int) -> None:
        """For a fit with `initial_epoch`: the phases that epochs alone have ended are over."""
        for phase in self.phases[:-1]:
            start = self.begun[-1]
            if phase.epochs is None or start + phase.epochs > epoch:
                return
            self.index += 1
            self.begun.append(start + phase.epochs)

    def _over(self, epoch: int) -> bool:
        phase = self.phase
        if phase.epochs is not None and epoch - self.begun[-1] >= phase.epochs:
            return True
        if phase.steps is not None and self.step - self._phase_step >= phase.steps:
            return True
        return phase.until is not None and self._wait >= phase.patience

    def _next(self, epoch: int) -> None:
        self.index += 1
        self.begun.append(epoch)
        self._phase_step, self._best, self._wait = self.step, math.nan, 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Looks at the metric that the phase waits for."""
        self._judged = epoch
        name = self.phase.until
        if name is None:
            return
        value = (logs or {}).get(name)
        if value is None:
            raise ScheduleError(
                f"Phase {self.index + 1} waits for {name!r}, which is not in the logs",
                f"one of {sorted(logs or {})}", "Pass validation data, or the metric to compile()",
            )  # fmt: skip
        sign = 1.0 if any(word in name for word in ("acc", "auc", "precision", "recall", "f1", "iou")) else -1.0
        if math.isnan(self._best) or sign * (float(value) - self._best) > self.phase.min_delta:
            self._best, self._wait = float(value), 0
        else:
            self._wait += 1

    def _enter(self, *, keep_rate: bool) -> None:
        """Sets flags and rates; in the middle of a fit, so that the model's values are brought home first."""
        self._entered = True
        model, phase = self.model or self._scheduled, self.phase
        flags.freeze(model)
        if phase.train is None:
            flags.unfreeze(model, batch_norm=phase.batch_norm)
            for layer in (place.layer for place in survey(model).places if getattr(place.layer, "_thaw_live", False)):
                layer.trainable = True  # as the publisher advised
        else:
            what = phase.train if isinstance(phase.train, (list, tuple)) else [phase.train]
            flags.unfreeze(model, *what, batch_norm=phase.batch_norm)
        if phase.learning_rate is not None and not keep_rate:
            try:
                model.optimizer.learning_rate = phase.learning_rate
            except TypeError as error:  # Keras' own, for an optimizer with a LearningRateSchedule
                raise ScheduleError(
                    f"Phase {self.index + 1} sets the learning rate, but the optimizer has a schedule of its own",
                    "an optimizer with a plain learning rate, or phases without one", "Compile with a number as learning rate",
                ) from error  # fmt: skip
        if any(p.rates for p in self.phases):
            multiply_rates(model, phase.rates)


class _SteppedSchedule(Schedule):
    """A schedule in which a phase may end in the middle of an epoch."""

    _epoch = 0
    _epoch_step = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """As its base, and counts from here."""
        super().on_epoch_begin(epoch, logs)
        self._epoch, self._epoch_step = epoch, self.step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Enters the next phase where this one has had its steps."""
        if self.phase.steps is not None and self._over(self._epoch) and self.index + 1 < len(self.phases):
            self._next(self._epoch)
            self._enter(keep_rate=False)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts."""
        self.step = self._epoch_step + batch + 1


# Ready-made phases


def probe_then_full(head: What, probe_epochs: int, learning_rate: float | None = None, *, batch_norm: bool = True) -> list[Phase]:
    """Linear probe, then everything (LP-FT): the head alone first, so that its random start does not spoil what was learnt.

    Args:
        head: what is new, in the selection language.
        probe_epochs: how long it trains alone.
        learning_rate: of the second phase; a tenth or less of the first is usual.
        batch_norm: whether batch normalizations train in the second phase.
    """
    return [Phase(head, epochs=probe_epochs), Phase(learning_rate=learning_rate, batch_norm=batch_norm)]


def gradual_unfreezing(groups: Sequence[What], epochs: int = 1, learning_rate: float | None = None) -> list[Phase]:
    """Gradual unfreezing from the top: the first group alone, then with the second, and so on; the last phase has them all.

    Args:
        groups: from the top (the head) down, each in the selection language.
        epochs: how long each phase but the last lasts.
        learning_rate: set with every phase.
    """
    last = len(groups)
    return [Phase(list(groups[:n]), epochs=epochs if n < last else None, learning_rate=learning_rate) for n in range(1, last + 1)]


def layerwise_decay(model: keras.Layer, decay: float) -> list[tuple[keras.Variable, float]]:
    """Multiples of the learning rate that shrink by `decay` from layer to layer, counted from the output down.

    A normalization, or whatever has no weight of two axes or more, goes with the layer before it.

    Example:
        thaw.multiply_rates(model, thaw.layerwise_decay(model, 0.8))
    """
    groups: list[list[keras.Variable]] = []
    found = survey(model)
    for place in found.places:
        own = [leaf.variable for leaf in found.leaves if leaf.owner is place.layer and leaf.may_train]
        if not own:
            continue
        if not groups or any(len(v.shape) > 1 for v in own):
            groups.append(own)
        else:
            groups[-1] += own
    return [(variable, decay**depth) for depth, group in enumerate(reversed(groups)) for variable in group]
