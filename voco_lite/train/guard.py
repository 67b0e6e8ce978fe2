"""Stop at the first loss that is not finite, with the state before it, and without waiting for the device."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn


class NonFiniteLossError(ValueError):
    """The loss or its gradient was infinite or not a number.

    Attributes:
        step: The optimizer step, counted from 1, that met it.
        sources: Where the volumes of that step came from, one list per micro-batch.
    """

    def __init__(self, message: str, step: int, sources: list[list[str]]) -> None:
        super().__init__(message)
        self.step = step
        self.sources = sources


class FiniteGuard:
    """Watches the loss on the device, keeps a bad step from touching the weights, and reports it one step later.

    A bad loss stays bad: every later update is left out too, so that weights and optimizer are those before the bad
    step when the host learns of it. What a forward pass moves besides (batch statistics, the teacher) is copied after
    each step; two copies bridge the delay.

    Args:
        model: Its buffers and its parameters without gradient are restored.
        device: Where the loss is computed.
        others: Further tensors to restore, such as the running sums of the log.
        scaler: fp16's loss scaler, if any: it owns gradient overflows, so that only the loss itself is watched.
    """

    def __init__(self, model: nn.Module, device: torch.device, others: list[Tensor], scaler: Any = None) -> None:
        self.scaler = scaler
        self.bad = torch.zeros((), device=device)
        moving = [*model.buffers(), *(p for p in model.parameters() if not p.requires_grad), *others]
        self._moving = [tensor.detach() for tensor in moving]
        self._kept: deque[tuple[int, list[Tensor]]] = deque(maxlen=2)
        self._unread: deque[tuple[int, Tensor, Any, list[list[str]]]] = deque()

    def mark(self, loss: Tensor) -> Tensor:
        """Note whether a loss is finite; the returned loss gives only NaN gradients from the first bad one on."""
        self.bad = torch.maximum(self.bad, (~torch.isfinite(loss.detach())).sum().clamp(max=1).to(self.bad.dtype))
        # The scaler leaves out a step of NaN gradients, which is how fp16 runs come to a halt here.
        return loss * torch.where(self.bad > 0, torch.nan, 1.0).to(loss.dtype)

    def before_update(self, optimizer: torch.optim.Optimizer, gradient_norm: Tensor) -> None:
        """Tell the fused optimizer, on the device, to leave the update out once something was not finite."""
        if self.scaler is None:
            bad_gradient = (~torch.isfinite(gradient_norm)).to(self.bad.dtype)
            self.bad = torch.maximum(self.bad, bad_gradient)
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            torch.distributed.all_reduce(self.bad, torch.distributed.ReduceOp.MAX)
        if self.scaler is None:
            optimizer.found_inf = self.bad  # type: ignore[attr-defined]

    def after_update(self, step: int, sources: list[list[str]]) -> None:
        """Send the flag on its way to the host; raise for the step before, whose flag has arrived."""
        if self.bad.is_cuda:
            flag = torch.empty((), pin_memory=True).copy_(self.bad, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        else:
            flag, arrived = self.bad.clone(), None
        self._unread.append((step, flag, arrived, sources))
        self._read(keep=1)

    def flush(self) -> None:
        """Read every flag now: before anything is logged or stored."""
        self._read(keep=0)

    def keep(self, step: int) -> None:
        """Copy what the weights' history does not hold, as the state after `step`."""
        if len(self._kept) < 2:
            self._kept.append((step, [tensor.clone() for tensor in self._moving]))
            return
        _, copies = self._kept.popleft()
        for copy, tensor in zip(copies, self._moving, strict=True):
            copy.copy_(tensor)
        self._kept.append((step, copies))

    def _read(self, keep: int) -> None:
        while len(self._unread) > keep:
            step, flag, arrived, sources = self._unread.popleft()
            if arrived is not None:
                arrived.synchronize()
            if flag.item():
                self._stop(step, sources)

    def _stop(self, step: int, sources: list[list[str]]) -> None:
        for kept_step, copies in self._kept:
            if kept_step == step - 1:
                for copy, tensor in zip(copies, self._moving, strict=True):
                    tensor.copy_(copy)
        volumes = "; ".join(source for micro_batch in sources for source in micro_batch)
        raise NonFiniteLossError(
            f"The loss or its gradient must be finite, got inf or NaN in step {step}, on: {volumes}. "
            f"The model holds the state after step {step - 1}. Look at these volumes, or lower learning_rate.",
            step,
            sources,
        )
