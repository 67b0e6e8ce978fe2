"""Device, precision and memory: everything about a run that depends on the machine."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import torch

from voco_lite.config import Precision, TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

_PATIENCE = timedelta(hours=2)  # of processes, while the first one measures on whole scans
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h


def choose_device(name: str) -> torch.device:
    """The device behind a name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ValueError: No such device on this machine.
    """
    if name == "auto":
        on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        return torch.device("cuda" if torch.cuda.is_available() and not on_cpu else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}. Use auto.") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}. Use auto.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} is not there: this machine has {torch.cuda.device_count()}. Use auto.")
    return device


def cpu_computes_in_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware: AVX512-BF16 or AMX on x86, the BF16 extension on ARM."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    # oneDNN also emulates bfloat16 on plain AVX512, slower than fp32: ask for the instructions themselves.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def choose_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """The precision of the matrix products and convolutions; losses are computed in fp32 or more in any case.

    Raises:
        ValueError: fp16 on a CPU, where gradients would underflow without a loss scaler.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ValueError('precision "fp16" needs CUDA, got device cpu. Use "auto", "bf16" or "fp32".')
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if cpu_computes_in_bf16() else "fp32"


def keep_memory_pages() -> bool:
    """Make glibc's allocator reuse its pages for the rest of the process; False where there is no glibc.

    By default every large activation is mapped anew and its pages are cleared by the kernel, each step; that costs
    more than the convolutions.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, 1 << 30), (_M_TOP_PAD, 64 << 20))
    return all([mallopt(name, value) == 1 for name, value in settings])  # noqa: C419 every setting is made


@contextmanager
def open_accelerator(config: TrainConfig) -> Iterator[Accelerator]:
    """An accelerator for this run only: device, precision, processes and loss scaler.

    Accelerate keeps one state per process and refuses a second one with another precision, as two runs in a notebook
    may want. The state is put aside for the time of the run and put back afterwards.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState
    from accelerate.utils import InitProcessGroupKwargs

    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    kinds = [AcceleratorState, GradientState]
    grouped = torch.distributed.is_initialized()
    if not grouped:
        kinds.append(PartialState)
    outer = [(kind, dict(kind._shared_state)) for kind in kinds]
    for kind in kinds:
        kind._shared_state.clear()
    try:
        with _fixed_device(device), _matrix_products(config.tf32):
            accelerator = Accelerator(
                cpu=device.type == "cpu",
                kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
                mixed_precision="no" if precision == "fp32" else precision,
                gradient_accumulation_steps=config.accumulation,
            )
            if torch.distributed.is_initialized() and not grouped and torch.distributed.get_backend() == "gloo":
                atexit.register(_end_process_group)
            yield accelerator
    finally:
        for kind, values in outer:
            # The process group lives on: forgetting it would start a second one.
            if kind is PartialState and torch.distributed.is_initialized():
                continue
            kind._shared_state.clear()
            kind._shared_state.update(values)


def _end_process_group() -> None:
    """End the group's threads while the interpreter still stands.

    A thread of gloo that frees its last tensor while Python shuts down aborts the process (PyTorch's pull request
    179291, closed, proposed the same handler). NCCL has no such thread, and would wait for processes that failed.
    """
    gc.collect()  # a DistributedDataParallel that waits to be collected holds the group
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def _matrix_products(tf32: bool) -> Iterator[None]:
    """Multiply fp32 matrices and convolve in TF32 on CUDA, or in full fp32, for the time of the run."""
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = tf32
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


@contextmanager
def _fixed_device(device: torch.device) -> Iterator[None]:
    """Tell accelerate which of several GPUs a single process shall use."""
    if device.index is None or "LOCAL_RANK" in os.environ:
        yield
        return
    before = os.environ.get("ACCELERATE_TORCH_DEVICE")
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    try:
        yield
    finally:
        if before is None:
            del os.environ["ACCELERATE_TORCH_DEVICE"]
        else:
            os.environ["ACCELERATE_TORCH_DEVICE"] = before
