"""An inspection as text for the terminal: signatures, the tree of inner layers, ops, verdict."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from thaw.inspection import Inspection, LayerInfo

MOST_LAYERS = 60
"""Layers printed before the tree is cut; `--json` and `--all` have every one."""

COLOURS = {"yes": "bold green", "with care": "bold yellow", "no": "bold red"}


def render(found: Inspection, *, every_layer: bool = False) -> RenderableType:
    """The inspection, ready for a rich console."""
    head = Text.assemble((found.handle, "bold"), f"  {found.format}, tags {', '.join(str(list(t)) for t in found.tags)}")
    parts: list[RenderableType] = [head, Text(), _signatures(found), Text(), _tree(found.root, every_layer)]
    if found.assets:
        parts += [Text(), Text(f"assets: {', '.join(found.assets)}")]
    if found.attachments:
        parts.append(Text(f"attachments: {', '.join(found.attachments)}"))
    ops = ", ".join(f"{op} {count}" for op, count in found.ops.items())
    parts += [Text(), Text.assemble((f"{len(found.ops)} kinds of op: ", "bold"), ops), Text(), _verdict(found)]
    return Group(*parts)


def _signatures(found: Inspection) -> Table:
    table = Table(title="signatures", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "takes", "gives", "training variant"):
        table.add_column(column, overflow="fold")
    for s in found.signatures:
        table.add_row(s.name, _lines(s.inputs), _lines(s.outputs), "yes" if s.training else "no")
    return table


def _lines(specs: object) -> str:
    assert hasattr(specs, "items")
    return "\n".join(f"{name}: {text}" for name, text in specs.items())


def _tree(root: LayerInfo, every: bool) -> Tree:
    tree = Tree(Text.assemble(("inner layers", "bold"), f"  {_counts(root)}"))
    left = [10**9 if every else MOST_LAYERS]
    _grow(tree, root, left, root.path)
    return tree


def _counts(info: LayerInfo) -> str:
    return f"{info.parameters:,} parameters, {info.trainable_parameters:,} advised to train"


def _grow(tree: Tree, info: LayerInfo, left: list[int], above: str) -> None:
    for name, dtype, shape, trainable in info.weights:
        tree.add(Text(f"{name}  {dtype} {shape}", style="" if trainable else "dim"))
    for index, child in enumerate(info.layers):
        if left[0] <= 0:
            tree.add(Text(f"... {len(info.layers) - index} more layers here (--all shows them)", style="dim"))
            return
        left[0] -= 1
        name = child.path.removeprefix(above + "/") if above else child.path
        style = "" if child.trainable_parameters else "dim"
        branch = tree.add(Text.assemble((name, "bold" if style == "" else style), (f"  {_counts(child)}", "dim")))
        _grow(branch, child, left, child.path)


def _verdict(found: Inspection) -> Text:
    where = "on JAX, PyTorch and TensorFlow" if not found.missing else ""
    words = {"yes": f"yes, {where}", "with care": f"yes, with care, {where}", "no": "no"}[found.verdict]
    text = Text.assemble(("can it be fine-tuned? ", "bold"), (words, COLOURS[found.verdict]))
    for reason in found.reasons:
        text.append(f"\n  - {reason}")
    return text
