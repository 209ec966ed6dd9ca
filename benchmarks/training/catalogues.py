"""Events a second by hidden dimension and size of catalogue, on whatever device the trainer finds."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch

from benchmarks.quality import ours
from benchmarks.training import made_up, roofline
from benchmarks.training.steady import Steady


def show(*, hidden: Sequence[int], items: Sequence[int], events: int, cell: str, threads: int, seconds: float) -> None:
    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    torch.set_num_threads(threads)
    # What the trainer computes with by itself: see its setting ``precision``.
    dtype = torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32
    flops, bytes_ = roofline.gemm_rate(dtype, device), roofline.memory_rate(device)
    name = torch.cuda.get_device_name() if on_gpu else f"CPU, {threads} thread(s)"
    print(f"\n## {name}, torch {torch.__version__}: torch.mm {str(dtype)[6:]} {flops / 1e9:,.0f} GFLOP/s, "
          f"copying {bytes_ / 1e9:,.0f} GB/s; {events:,} made-up events\n")  # fmt: skip
    print("| hidden | items | events/s | events a step | steps/s | GPU busy | GPU MiB | of the matrix roofline "
          "| of the memory roofline |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for many in items:
        histories = made_up.interactions(events, items=many)
        for width in hidden:
            setting = ours.Setting(cell=cell, parameters={"hidden_dimension": str(width)}, threads=threads)
            steady = Steady(seconds)
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            with Busy() as busy:
                learner = ours.run_steps(histories, setting, steady.step)
            speed, work = steady.speed, ours.work(learner)
            steps = speed.steps / max(speed.wall, 1e-9)
            memory = f"{torch.cuda.max_memory_allocated() / 2**20:,.0f}" if on_gpu else ""
            print(
                f"| {width} | {many:,} | {speed.a_second:,.0f} | {work.events:,} | {steps:.1f} | {busy.mean} "
                f"| {memory} | {speed.a_second * work.flops / flops:.1%} | {steps * work.bytes / bytes_:.1%} |",
                flush=True,
            )
            del learner


class Busy:
    """The share of time in which the GPU ran a kernel, as its driver tells it; empty where nothing tells it."""

    def __init__(self) -> None:
        self._seen: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        try:
            while not self._over.wait(0.2):
                self._seen.append(torch.cuda.utilization())
        except (ModuleNotFoundError, RuntimeError, AssertionError):  # no GPU, or no nvidia-ml-py
            return

    @property
    def mean(self) -> str:
        return f"{sum(self._seen) / len(self._seen):.0f} %" if self._seen else ""
