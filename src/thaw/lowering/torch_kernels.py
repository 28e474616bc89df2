"""PyTorch's native convolution and batch normalization, with what follows them in the same pass.

Values are channels last, as the graph has them; the native ops get permuted views, so that nothing is copied. `kernels` chooses.
"""

# ruff: noqa: TID251

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from thaw.lowering.windows import Padding, pads_of


@cache
def _relu6() -> Callable[[Any], Any]:
    """`hardtanh_` between 0 and 6, of what has a gradient: PyTorch copies such an argument first, and never reads the copy.

    Those copies were 113 of 3,290 ms of a training step of MobileNetV2 (224, batch 32, tuned allocator).
    """
    import torch

    class Relu6(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(y: Any) -> Any:
            return y.clamp_(0.0, 6.0)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any], output: Any) -> None:
            ctx.mark_dirty(*inputs)
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return torch.ops.aten.hardtanh_backward(gradient, *ctx.saved_tensors, 0.0, 6.0)

    apply: Callable[[Any], Any] = Relu6.apply
    return apply


def in_place(y: Any, activation: str) -> Any:
    """`y`, which nobody else has seen yet, after "Relu", "Relu6" or nothing (""): neither an array nor a saved one more.

    Their gradients need the result only; those of convolution and normalization do not need theirs.
    """
    import torch

    if activation == "Relu":
        return torch.relu_(y)
    if activation == "Relu6":
        return _relu6()(y) if y.requires_grad else torch.nn.functional.hardtanh_(y, 0.0, 6.0)
    return y


def convolution(
    x: Any,
    kernel: Any,
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
    bias: Any = None,
    activation: str = "",
) -> Any:
    """The native convolution on a channels-first view, which keeps the layout in memory channels last."""
    import torch
    from torch.nn import functional

    axes = x.ndim - 2
    pads = pads_of(padding, x.shape[1:-1], kernel.shape[:axes], strides, dilations)
    assert pads is not None
    x = x.permute(0, axes + 1, *range(1, axes + 1))
    kernel = kernel.permute(axes + 1, axes, *range(axes))
    if kernel.dtype == torch.float64:  # no oneDNN there, and PyTorch's own gradient refuses views
        x, kernel = x.contiguous(), kernel.contiguous()
    if all(a == b for a, b in pads):
        symmetric = tuple(a for a, _ in pads)
    else:  # pad() lists the last axis first
        x, symmetric = functional.pad(x, [n for pair in reversed(pads) for n in pair]), (0,) * axes
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    groups = x.shape[1] // kernel.shape[1]
    y = function(x, kernel, bias, tuple(strides), symmetric, tuple(dilations), groups)
    return in_place(y, activation).permute(0, *range(2, axes + 2), 1)


def batch_norm(x: Any, scale: Any, offset: Any, epsilon: float, activation: str = "") -> tuple[Any, Any, Any]:
    """The native op on a channels-first view; its moving averages, replaced wholly, tell the batch's statistics."""
    import torch
    from torch.nn import functional

    count = x.numel() // x.shape[-1]
    mean, variance = torch.zeros_like(scale.detach()), torch.ones_like(scale.detach())
    view = x.permute(0, x.ndim - 1, *range(1, x.ndim - 1))
    y = functional.batch_norm(view, mean, variance, scale, offset, training=True, momentum=1.0, eps=epsilon)
    return in_place(y, activation).permute(0, *range(2, x.ndim), 1), mean, variance * ((count - 1) / count)


def batch_norm_given(x: Any, scale: Any, offset: Any, mean: Any, variance: Any, epsilon: float, activation: str) -> Any:
    """The native op by given statistics."""
    from torch.nn import functional

    view = x.permute(0, x.ndim - 1, *range(1, x.ndim - 1))
    y = functional.batch_norm(view, mean, variance, scale, offset, training=False, eps=epsilon)
    return in_place(y, activation).permute(0, *range(2, x.ndim), 1)


def lstm(x: Any, output: Any, state: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple[Any, Any, Any]:
    """The native LSTM over `x` (time, batch, features): outputs (time, batch, units), the last one, and the cell's last state.

    Gates stand in the order input, forget, cell, output: `kernel` (features, 4 units), `recurrent` (units, 4 units), `bias`.
    """
    import torch

    if x.is_meta:  # shapes are asked for; PyTorch would find them round by round, for 0.3 s
        return x.new_empty((*x.shape[:2], state.shape[-1])), torch.empty_like(output), torch.empty_like(state)
    weights = [kernel.t().contiguous(), recurrent.t().contiguous(), bias, torch.zeros_like(bias)]
    start = (output.unsqueeze(0).contiguous(), state.unsqueeze(0).contiguous())
    outputs, last, cell = torch._VF.lstm(x.contiguous(), start, weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return outputs, last[0], cell[0]


def gru(x: Any, output: Any, kernel: Any, recurrent: Any, bias: Any, inner: Any) -> tuple[Any, Any]:
    """The native GRU over `x` (time, batch, features): outputs (time, batch, units) and the last one.

    Gates stand in the order reset, update, new: `kernel` (features, 3 units), `recurrent` (units, 3 units), a bias for each.
    """
    import torch

    if x.is_meta:  # as above
        return x.new_empty((*x.shape[:2], output.shape[-1])), torch.empty_like(output)
    weights = [kernel.t().contiguous(), recurrent.t().contiguous(), bias, inner]
    start = output.unsqueeze(0).contiguous()
    outputs, last = torch._VF.gru(x.contiguous(), start, weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return outputs, last[0]
