"""The linear recurrence: the scan and its gradients equal the equations, in float32 and bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.network import GAP_BUCKETS, LinearRecurrence
from shared.recipes.hrnn.ops.pytorch.linear_recurrence import GatedScan, compute_scan, compute_scan_backward
from tests.recipes.networks import (
    H,
    T,
    one_stream_or_several,
    shaken,
)


def by_hand(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    """The recurrence, a line each step."""
    states = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_doubling_computes_the_recurrence(steps: int) -> None:
    torch.manual_seed(0)
    a, b, h = torch.rand(steps, 3, 4), torch.randn(steps, 3, 4), torch.randn(3, 4)
    torch.testing.assert_close(compute_scan(a, b, h), by_hand(a, b, h))


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_doubling_backwards_is_the_adjoint(steps: int) -> None:
    torch.manual_seed(0)
    a, g = torch.rand(steps, 3, 4), torch.randn(steps, 3, 4)
    b = torch.randn(steps, 3, 4, requires_grad=True)
    (expected,) = torch.autograd.grad(by_hand(a, b, torch.randn(3, 4)), b, g)
    torch.testing.assert_close(compute_scan_backward(a, g.clone()), expected)


def scanned_by_hand(into: Tensor, time: Tensor, keep: Tensor, h: Tensor) -> Tensor:
    gate, v, g = into.chunk(3, -1)
    a = torch.sigmoid(gate + time)
    kept = a * keep.repeat_interleave(a.shape[-1] // 2, -1)
    return by_hand(kept, (1 - a) * v, h) * functional.silu(g)


def to_scan(streams: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    steps, width = 6, 4
    into = torch.randn(steps, streams, 3 * width, dtype=torch.double, requires_grad=True)
    time = torch.randn(steps, streams, width, dtype=torch.double, requires_grad=True)
    keep = (torch.rand(steps, streams, 2) < 0.7).double()
    return into, time, keep, torch.randn(streams, width, dtype=torch.double)


@pytest.mark.parametrize("streams", [1, 2])
def test_the_gated_scan_and_its_gradients_are_those_of_the_equations(streams: int) -> None:
    into, time, keep, h = to_scan(streams)
    y, last = GatedScan.apply(into, time, keep, h)
    plain = scanned_by_hand(into, time, keep, h)
    torch.testing.assert_close(y, plain)
    gate, v, _ = into.chunk(3, -1)
    a = torch.sigmoid(gate + time)
    torch.testing.assert_close(last, by_hand(a * keep.repeat_interleave(2, -1), (1 - a) * v, h)[-1])
    assert not last.requires_grad
    wanted = torch.randn_like(y)
    ours = torch.autograd.grad(y, (into, time), wanted)
    for one, other in zip(ours, torch.autograd.grad(plain, (into, time), wanted), strict=True):
        torch.testing.assert_close(one, other)


def test_the_gated_scans_gradients_are_finite_differences() -> None:
    into, time, keep, h = to_scan(2)
    assert torch.autograd.gradcheck(lambda into, time: GatedScan.apply(into, time, keep, h)[0], (into, time))


def gradients_of_a_layer(layer: LinearRecurrence, streams: int, *, whole: bool, fast: bool = False) -> list[Tensor]:
    """What it gives, its last state, and the gradients. ``whole``: as on a CPU."""
    torch.manual_seed(0)
    x = torch.randn(T, streams, H, requires_grad=True)
    gap = torch.randint(0, GAP_BUCKETS, (T, streams))
    keep, h = (torch.rand(T, streams, 2) < 0.8).float(), torch.randn(streams, 2 * H)
    if whole:
        z, last = layer(x, gap, keep, h, fast=fast)
    else:
        y, last = GatedScan.apply(layer.into(layer.norm(x)), layer.time(gap), keep, h)
        z = x + layer.out(y)
    return [z, last, *torch.autograd.grad(z, [x, *layer.parameters()], torch.randn_like(z))]


@one_stream_or_several
def test_a_layer_written_out_is_what_its_modules_are(streams: int) -> None:
    layer = shaken().layers[0]
    assert isinstance(layer, LinearRecurrence)
    ours, plain = (gradients_of_a_layer(layer, streams, whole=whole) for whole in (True, False))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    fast = gradients_of_a_layer(layer, streams, whole=True, fast=True)
    for one, other in zip(fast, plain, strict=True):
        assert one.dtype == other.dtype
        assert 0 < (one - other).norm() <= 0.03 * other.norm()


def test_a_layers_gradient_can_be_taken_twice() -> None:
    layer = shaken().layers[0]
    x, keep = torch.randn(T, 9, H, requires_grad=True), (torch.rand(T, 9, 2) < 0.5).float()
    z, _ = layer(x, torch.zeros(T, 9, dtype=torch.long), keep, torch.randn(9, 2 * H))
    once, again = (torch.autograd.grad(z.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, again)
