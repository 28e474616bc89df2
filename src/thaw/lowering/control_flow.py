"""Loops and conditions: While, If, Case and their stateless twins. How they run is said in `thaw.lowering.loops`."""

import numpy as np
from keras import ops

from thaw.graph.ir import FunctionName, Graph
from thaw.lowering.loops import choose, run_loop, truth
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Handle, NotKnownError, Value, is_host, known, on_device


@lowering("While", "StatelessWhile", context=True, stateful=True, ignored=("output_shapes", "parallel_iterations"))
def while_loop(context: Context, *input: Value, cond: FunctionName | Graph, body: FunctionName | Graph) -> list[Value]:
    """The values after the last round."""
    return run_loop(context, context.node.name, context.graph(cond), context.graph(body), input)


@lowering("If", "StatelessIf", context=True, stateful=True, ignored=("Tcond", "output_shapes"))
def conditional(
    context: Context, cond: Value, *input: Value, then_branch: FunctionName | Graph, else_branch: FunctionName | Graph
) -> list[Value]:
    """What the branch gives that the predicate chooses."""
    if isinstance(cond, Handle):
        cond = context.read(cond.key)
    taken = truth(cond)
    branches = [context.graph(else_branch), context.graph(then_branch)]
    if taken is None:
        cond = ops.not_equal(cond, 0) if len(cond.shape) == 0 else on_device(np.asarray(int(np.prod(cond.shape)) > 0))
    return choose(context, cond, branches, input, None if taken is None else int(taken))


@lowering("Case", "StatelessCase", context=True, stateful=True, ignored=("output_shapes",))
def case(context: Context, branch_index: Value, *input: Value, branches: tuple[FunctionName | Graph, ...]) -> list[Value]:
    """What the branch of that number gives; the last one for a number that no branch has."""
    graphs = [context.graph(b) for b in branches]
    try:
        index = known(branch_index, "branch_index")
    except NotKnownError:
        index = branch_index
    last = len(graphs) - 1
    if is_host(index):
        number = int(index)
        return choose(context, index, graphs, input, number if 0 <= number <= last else last)
    inside = ops.logical_and(index >= 0, index < last)
    return choose(context, ops.where(inside, index, last), graphs, input, None)
