"""The kernels of a CPU: what they compute, and their gradients, are those of torch's operations, whatever the shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.config import GAP_BUCKETS
from shared.recipes.hrnn.network import LinearRecurrence
from shared.recipes.hrnn.ops.numba.compiled import compile_kernel, exp, round_to_bfloat16, sigmoid, widen_bfloat16
from shared.recipes.hrnn.ops.numba.recurrent_layer import RmsNorm
from shared.recipes.hrnn.ops.numba.table_rows import Dropout, EmbeddingSum, PairDots, ScaleAndShift
from shared.recipes.hrnn.ops.pytorch.linear_recurrence import GatedScan


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


each_shape = pytest.mark.parametrize("shape", [(1, 1), (2, 7), (65, 64), (3, 256)])


def same(ours: Tensor, theirs: Tensor, learnt: Sequence[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    drawn = torch.randn_like(theirs)
    for one, other in zip(
        torch.autograd.grad(ours, learnt, drawn), torch.autograd.grad(theirs, learnt, drawn), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


@each_shape
def test_the_norm_is_torchs(threads: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, weight = leaf(5, *shape), leaf(shape[1])
    ours: Tensor = RmsNorm.apply(x, weight)  # type: ignore[no-untyped-call]
    same(ours, functional.rms_norm(x, (shape[1],), weight), (x, weight))


@each_shape
def test_two_tables_are_looked_up_at_once(threads: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    rows, hidden = shape
    one, other = leaf(9, hidden), leaf(4, hidden)
    ones, others = torch.randint(0, 9, (rows, 2)), torch.randint(0, 4, (2, rows)).T
    ours: Tensor = EmbeddingSum.apply(one, ones, other, others)  # type: ignore[no-untyped-call]
    same(ours, one[ones] + other[others], (one, other))


@each_shape
def test_rows_are_scaled_and_shifted_by_their_gap(threads: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    rows, hidden = shape
    x, scale, shift, gap = leaf(rows, hidden), leaf(4, hidden), leaf(4, hidden), torch.randint(0, 4, (rows,))
    ours: Tensor = ScaleAndShift.apply(x, scale, shift, gap)  # type: ignore[no-untyped-call]
    same(ours, x * scale[gap] + shift[gap], (x, scale, shift))


@pytest.mark.parametrize("pairs", [0, 1, 50])
@each_shape
def test_rows_of_two_tables_are_multiplied_pair_by_pair(threads: int, shape: tuple[int, int], pairs: int) -> None:
    """A row may be in many pairs, or in none."""
    torch.manual_seed(0)
    rows, hidden = shape
    q, v = leaf(rows, hidden), leaf(6, hidden)
    of_q, of_v = torch.randint(0, rows, (pairs,)).sort().values, torch.randint(0, 5, (pairs,))
    ours: Tensor = PairDots.apply(q, of_q, v, of_v)  # type: ignore[no-untyped-call]
    same(ours, (q[of_q] * v[of_v]).sum(1), (q, v))


@pytest.mark.parametrize("dropped", [0, 51, 255])
@each_shape
def test_what_is_dropped_is_0_and_what_stays_stands_for_it(threads: int, shape: tuple[int, int], dropped: int) -> None:
    torch.manual_seed(0)
    x, byte = leaf(*shape), torch.randint(0, 256, (shape[0] * shape[1],), dtype=torch.uint8)
    ours: Tensor = Dropout.apply(x, byte, dropped)  # type: ignore[no-untyped-call]
    same(ours, x * (byte.view(shape) >= dropped) * (256 / (256 - dropped)), (x,))


@pytest.mark.parametrize(
    ("steps", "streams", "hidden"), [(1, 1, 1), (1, 9, 3), (17, 1, 8), (5, 6, 7), (3, 2, 256), (32, 64, 64)]
)
@pytest.mark.parametrize("fast", [False, True])
def test_a_layer_is_what_its_modules_are(threads: int, steps: int, streams: int, hidden: int, fast: bool) -> None:
    torch.manual_seed(0)
    layer = LinearRecurrence(hidden)
    x, gap = leaf(steps, streams, hidden), torch.randint(0, GAP_BUCKETS, (steps, streams))
    keep, h = (torch.rand(steps, streams, 2) < 0.7).float(), torch.randn(streams, 2 * hidden)
    z, last = layer(x, gap, keep, h, fast=fast)
    y, last_of_modules = GatedScan.apply(layer.into(layer.norm(x)), layer.time(gap), keep, h)  # type: ignore[no-untyped-call]
    plain, learnt = x + layer.out(y), [x, *layer.parameters()]
    if not fast:
        torch.testing.assert_close(last, last_of_modules)
        same(z, plain, learnt)
        return
    drawn = torch.randn_like(z)
    ours, theirs = (torch.autograd.grad(each, learnt, drawn) for each in (z, plain))
    for one, other in zip((z, last, *ours), (plain, last_of_modules, *theirs), strict=True):
        assert one.dtype == other.dtype
        assert (one - other).norm() <= 0.03 * max(other.norm(), 0.3)


def test_each_number_of_threads_and_each_run_give_the_same_layer() -> None:
    found = []
    for count in (1, 1, 4):
        torch.set_num_threads(count)
        torch.manual_seed(0)
        layer, x = LinearRecurrence(8), leaf(5, 6, 8)
        z, _ = layer(x, torch.zeros(5, 6, dtype=torch.long), torch.ones(5, 6, 2), torch.zeros(6, 16))
        found.append([z, *torch.autograd.grad(z.square().sum(), [x, *layer.parameters()])])
    torch.set_num_threads(1)
    for one, again, other in zip(*found, strict=True):
        assert torch.equal(one, again)
        torch.testing.assert_close(one, other)


def test_the_exponential_is_right_to_seven_digits_and_has_ends() -> None:
    x = np.linspace(-80, 80, 4001, dtype=np.float32)
    ours = np.array([exp(each) for each in x])
    np.testing.assert_allclose(ours, np.exp(x.astype(np.float64)), rtol=5e-6)
    near = np.linspace(-1, 1, 2001, dtype=np.float32)
    np.testing.assert_allclose([exp(each) for each in near], np.exp(near.astype(np.float64)), rtol=3e-7)
    assert [sigmoid(np.float32(each)) for each in (-1e30, 0, 1e30)] == [pytest.approx(0, abs=1e-37), 0.5, 1.0]


def test_numbers_are_rounded_to_bfloat16_as_torch_does() -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(2000) * 10.0 ** torch.randint(-30, 30, (2000,)), torch.tensor([0.0, -0.0, torch.inf])])
    bits = x.to(torch.bfloat16).view(torch.int16).numpy()
    assert [round_to_bfloat16(each) for each in x.numpy()] == bits.tolist()
    assert [widen_bfloat16(each) for each in bits] == x.to(torch.bfloat16).float().tolist()


def empty(kept: Path) -> None:
    kept.write_bytes(b"")


def torn(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:-40])


def folder(kept: Path) -> None:
    """As where it can neither be read nor written."""
    kept.unlink()
    kept.mkdir()


def doubled(x: float) -> float:
    return x * 2


@pytest.mark.parametrize("damage", [empty, torn, folder])
@pytest.mark.parametrize("of", ["*.nbi", "*.nbc"])
def test_what_was_compiled_and_is_damaged_is_compiled_again(
    of: str, damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    first, second, third = compile_kernel(doubled), compile_kernel(doubled), compile_kernel(doubled)
    assert first(1.5) == 3.0
    [kept] = tmp_path.rglob(of)
    damage(kept)
    assert second(1.5) == 3.0
    assert not second.stats.cache_hits
    assert third(1.5) == 3.0
    assert bool(third.stats.cache_hits) == (damage is not folder)
