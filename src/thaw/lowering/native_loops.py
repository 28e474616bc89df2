"""Loops that PyTorch runs by one native op instead of round by round: those that are an LSTM or a GRU. Imports their readers."""

from collections.abc import Sequence

from thaw.graph.ir import Graph
from thaw.lowering.gru_loops import Gru, GruReader
from thaw.lowering.lstm_loops import Lstm, LstmReader
from thaw.lowering.run import Context
from thaw.lowering.trips import Trips
from thaw.lowering.values import Value

READERS = (LstmReader, GruReader)


def at_once(context: Context, body: Graph, values: Sequence[Value], fixed: frozenset[int], trips: Trips) -> list[Value] | None:
    """The final values of a loop of known length; None: it is neither, or not as the native op takes it."""
    if trips.count < 2:
        return None

    def recurrence() -> Lstm | Gru | None:
        return next((found for reader in READERS if (found := reader(body, fixed, trips.counters).read()) is not None), None)

    found = context.resources.derived(body, f"recurrence {sorted(fixed)} {sorted(trips.counters)}", recurrence)
    x = None if found is None else found.rows.read(values, trips)
    return None if found is None or x is None else found.run(context, values, trips, x)
