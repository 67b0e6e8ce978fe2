"""The Swin encoder against MONAI's, forward and backward, side by side.

    python tests/benchmarks/encoder.py [--sizes 64] [--features 48] [--precisions fp32] [--rounds 7] [--crops 1]

Both sides have the same weights, the same crops, the same threads and the same allocator settings, and run in turn
within one process: a ratio is that of the medians. "transformer" is the Swin transformer alone (five hidden maps),
"encoder" all that VoCo pre-trains (five maps, pooled). Peak memory is the growth of one step over the resident size
before it, each side in a process of its own. `--as-users-get` times each side in a process of its own, too, ours with the
allocator settings that `pretrain` makes and MONAI's without. `--profile` adds where the time goes, and the ratios that
could be reached if everything but the convolutions, or everything but convolutions and matrix products, which both
sides leave to the same libraries, took no time.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rounds import machine
from torch import Tensor, nn

from voco_lite.encoders.swin import SwinEncoder
from voco_lite.train.hardware import keep_memory_pages

Step = Callable[[], None]
_OPERATIONS = 8
_MATRIX_PRODUCTS = (
    "aten::mm",
    "aten::addmm",
    "aten::addmm_",
    "aten::bmm",
    "aten::baddbmm",
    "mkldnn::_linear_pointwise",
)
PARTS, SIDES = ("transformer", "encoder"), ("voco_lite", "MONAI")


class MonaiEncoder(nn.Module):
    """MONAI's modules, wired and pooled as the released class `Swin` does."""

    def __init__(self, feature_size: int, checkpointing: bool) -> None:
        super().__init__()
        from monai.networks.nets import SwinUNETR

        network = SwinUNETR(1, 2, feature_size=feature_size, use_v2=True, use_checkpoint=checkpointing)
        self.swinViT = network.swinViT
        for name in ("encoder1", "encoder2", "encoder3", "encoder4", "encoder10"):
            setattr(self, name, getattr(network, name))

    def forward(self, crops: Tensor) -> Tensor:
        parts: dict[str, Any] = dict(self.named_children())
        hidden = parts["swinViT"](crops, True)
        inputs = {"encoder1": crops, "encoder2": hidden[0], "encoder3": hidden[1], "encoder4": hidden[2]}
        maps = [parts[name](x) for name, x in (inputs | {"encoder10": hidden[4]}).items()]
        return torch.cat([nn.functional.adaptive_avg_pool3d(x, 1).flatten(1) for x in maps], 1)


def build(
    side: str, part: str, size: int, features: int, crops: int, checkpointing: bool, precision: str
) -> tuple[nn.Module, Step]:
    """A network and one training step of it without an optimizer."""
    torch.manual_seed(0)
    network: nn.Module = (
        SwinEncoder(features, activation_checkpointing=checkpointing)
        if side == "voco_lite"
        else MonaiEncoder(features, checkpointing)
    )
    batch = torch.rand(crops, 1, size, size, size)
    transformer: Any = network.swinViT

    def step() -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            if part == "transformer":
                loss = torch.stack([x.float().square().mean() for x in transformer(batch)]).sum()
            else:
                pooled = network(batch)
                loss = (pooled.pooled if side == "voco_lite" else pooled).float().square().sum()
        loss.backward()

    return network, step


def measure(steps: dict[str, Step], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(Wall, CPU) seconds of every round, the sides in turn, after one warm-up each."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for round_ in range(-1, rounds):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if round_ >= 0:
                seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return seconds


def resident() -> int:
    """Resident bytes now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def in_process(what: str, arguments: list[str]) -> float:
    """The "peak" megabytes of one step, or median "seconds" of several, measured in a fresh process."""
    command = [sys.executable, __file__, "--child", what, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def child(what: str, side: str, part: str, numbers: list[str], precision: str) -> None:
    """Measure one side and print one number."""
    threads, rounds, size, features, crops, checkpointing = map(int, numbers)
    torch.set_num_threads(threads)
    if what == "peak" or side == "voco_lite":
        keep_memory_pages()
    _, step = build(side, part, size, features, crops, bool(checkpointing), precision)
    if what == "seconds":
        print(statistics.median(wall for wall, _ in measure({side: step}, rounds)[side]))
        return
    before = resident()
    step()
    # Not `ru_maxrss`, which a process inherits from the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print((int(status["VmHWM"].split()[0]) * 1024 - before) / 1e6)


def compare(part: str, size: int, features: int, precision: str, options: argparse.Namespace) -> None:
    """One comparison, printed."""
    settings = (size, features, options.crops, options.checkpointing, precision)
    built = {side: build(side, part, *settings) for side in SIDES}
    theirs = {k: v for k, v in built["MONAI"][0].state_dict().items() if not k.startswith(("decoder", "out"))}
    built["voco_lite"][0].load_state_dict(theirs)
    seconds = measure({side: step for side, (_, step) in built.items()}, options.rounds)
    wall, cpu = (
        {side: statistics.median(round_[clock] for round_ in values) for side, values in seconds.items()}
        for clock in (0, 1)
    )
    print(f"{part}, {options.crops} crop(s) of {size}^3, feature size {features}, {precision}, {options.rounds} rounds")
    for name, values in (("wall", wall), ("CPU", cpu)):
        ours, other = values["voco_lite"], values["MONAI"]
        print(f"  {name:5s} voco_lite {ours:7.2f} s   MONAI {other:7.2f} s   ratio {other / ours:5.2f}x")
    if options.profile:
        print_profile({side: step for side, (_, step) in built.items()})
    numbers = (options.threads, options.rounds, size, features, options.crops, int(options.checkpointing))
    flags = [part, *map(str, numbers), precision]
    if options.as_users_get:
        ours, other = (in_process("seconds", [side, *flags]) for side in SIDES)
        print(f"  users voco_lite {ours:7.2f} s   MONAI {other:7.2f} s   ratio {other / ours:5.2f}x")
    if not options.no_memory:
        ours, other = (in_process("peak", [side, *flags]) for side in SIDES)
        print(f"  peak  voco_lite {ours:7.0f} MB  MONAI {other:7.0f} MB  ratio {other / ours:5.2f}x")


def profile(step: Step) -> dict[str, float]:
    """Seconds of one step by operation, each without what it calls."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        step()
    return {event.key: event.self_cpu_time_total / 1e6 for event in recorded.key_averages()}


def print_profile(steps: dict[str, Step]) -> None:
    """The largest shares of our step, and the bounds that convolutions and matrix products set."""
    seconds = {side: profile(step) for side, step in steps.items()}
    ours, whole = seconds["voco_lite"], sum(seconds["voco_lite"].values())
    for name, value in sorted(ours.items(), key=lambda pair: -pair[1])[:_OPERATIONS]:
        print(f"  {value / whole:5.0%}  {name}")
    convolutions = sum(value for name, value in ours.items() if "conv" in name)
    products = convolutions + sum(ours.get(name, 0) for name in _MATRIX_PRODUCTS)
    for name, value in (("convolutions", convolutions), ("convolutions and matrix products", products)):
        print(f"  {name} {value:.2f} s of {whole:.2f} s; bound {sum(seconds['MONAI'].values()) / value:.2f}x")


def main() -> None:
    warnings.filterwarnings("ignore")
    if sys.argv[1:2] == ["--child"]:
        what, side, part, *numbers, precision = sys.argv[2:]
        child(what, side, part, numbers, precision)
        return
    keep_memory_pages()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--features", type=int, nargs="+", default=[48])
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--crops", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="activation checkpointing on both sides")
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    parser.add_argument("--as-users-get", action="store_true", help="also each side with its own allocator settings")
    parser.add_argument("--no-memory", action="store_true", help="skip the peak memory")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    for size in options.sizes:
        for features in options.features:
            for precision in options.precisions:
                for part in options.parts:
                    compare(part, size, features, precision, options)


if __name__ == "__main__":
    main()
