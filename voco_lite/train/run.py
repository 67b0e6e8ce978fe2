"""A run in progress: what one optimizer step does, and how the state is stored and taken up again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from voco_lite.checkpoints import FINAL, Configuration, load_weights, prune, save_checkpoint, step_path
from voco_lite.config import TrainConfig
from voco_lite.dataset import DrawSampler
from voco_lite.train.guard import FiniteGuard, NonFiniteLossError
from voco_lite.train.hardware import keep_memory_pages
from voco_lite.train.history import History, truncate_log
from voco_lite.train.leaving_out import LeftOut
from voco_lite.train.records import Meter, RunLog
from voco_lite.train.resume import describe_data, newest_readable, open_run_folder, refuse_differences
from voco_lite.train.schedule import step_seed, warmup_cosine

if TYPE_CHECKING:
    from accelerate import Accelerator

Callback = Callable[[dict[str, Any], Any], None]
"""Gets each record and the model."""


class Whole(Configuration, Protocol):
    """A whole configuration: how to train, and all the rest."""

    @property
    def train(self) -> TrainConfig:
        """How to train."""


class _Stepper(nn.Module):
    """What accelerate wraps in autocast and in DDP, so that neither leaves a trace on the reader's model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return self.model(*args, **keywords)


class Run:
    """A model, its optimizer and where they stand.

    Args:
        accelerator: From `open_accelerator`.
        model: A `VoCo`, or another module with an `encoder` and `started_from`.
        dataset: A `VoCoDataset`, or anything that is drawn from, collated and cut as it is.
        config: Stored in every checkpoint; a run with another one is not continued.
    """

    def __init__(self, accelerator: Accelerator, model: Any, dataset: Any, config: Whole) -> None:
        self.accelerator, self.model, self.dataset = accelerator, model, dataset
        self.whole, self.config, self.device = config, config.train, accelerator.device
        if self.device.type == "cpu":
            keep_memory_pages()
        self.sampler = DrawSampler(
            length=len(dataset),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            world=accelerator.num_processes,
            rank=accelerator.process_index,
            drop_last=self.config.drop_last,
            reshuffle=self.config.reshuffle,
        )
        self.folder = Path(self.config.run_folder) if self.config.run_folder is not None else None
        self.history = History(run_folder=self.folder)
        self.left_out = LeftOut(accelerator, self.history)
        self.step, self.seconds = 0, 0.0
        model.to(device=self.device, memory_format=torch.channels_last_3d)
        if self.config.compile:
            model.encoder.compile()
        self.trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            self.parameter_groups(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            amsgrad=self.config.amsgrad,
            fused=True,
        )
        self.stepper, self.optimizer = accelerator.prepare(self.wrapped(), optimizer)
        self.meter = Meter(self.device)
        self.guard = FiniteGuard(model, self.device, [self.meter.sums], accelerator.scaler)
        self.generator = torch.Generator(self.device)
        self.log: RunLog | None = None
        self.provenance = {
            "data": describe_data(dataset.sources, dataset.seed),
            "precision": accelerator.mixed_precision,
            "processes": accelerator.num_processes,
            "device": str(self.device),
            "started_from": model.started_from,
        }

    def wrapped(self) -> nn.Module:
        """The module whose call computes the losses."""
        return _Stepper(self.model)

    def losses(self, batch: Any, first: bool) -> Any:
        """The losses of a micro-batch, `total` and `terms`; `first` in its optimizer step."""
        return self.stepper(batch, generator=self.generator, update_teacher=first)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of trained parameters; "share" is the share of the learning rate at which one learns."""
        return [{"params": self.trained}]

    def state(self) -> dict[str, Any]:
        """Further entries of every checkpoint, final one included."""
        return {}

    def restore_state(self, entries: dict[str, Any]) -> None:
        """The inverse of `state`."""

    def begin(self) -> bool:
        """Open the run folder and take up the run where it stands; True where it is finished already."""
        if self.folder is not None:
            if self.accelerator.is_main_process:
                open_run_folder(self.folder, self.whole.to_dict(), self.config.resume)
            self.accelerator.wait_for_everyone()
            entries = newest_readable(self.folder)
            if entries is not None:
                self._restore(entries)
                if entries["finished"]:
                    self.model.eval()
                    self.history = History.load(self.folder)
                    return True
            if self.accelerator.is_main_process:
                self.history.records = truncate_log(self.folder, self.step if entries else -1)
            self.left_out.resume()
        self.left_out.add(self.dataset.left_out)
        self.log = RunLog(self.history, self.step + bool(self.step), self.accelerator.is_main_process)
        self.micro_batches = self._micro_batches()
        self.guard.keep(self.step)
        self.model.train()
        self.began = time.perf_counter() - self.seconds
        return False

    def take_step(self, step: int) -> None:
        """One optimizer step; `step` counts from 1."""
        rate = self._learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        sources = []
        for micro in range(self.config.accumulation):
            number, batch = next(self.micro_batches)
            self.generator.manual_seed(step_seed(self.config.seed, number))
            last = micro == self.config.accumulation - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.stepper):
                losses = self.losses(batch, first=micro == 0)
                self.accelerator.backward(self.guard.mark(losses.total))
            self.meter.add({"total": losses.total, **losses.terms})
            sources.append(batch.sources)
        norm = self._clip()
        self.meter.add({"gradient_norm": norm})
        self.guard.before_update(self.optimizer.optimizer, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step = step
        self.guard.after_update(step, sources)

    def record(self, gauges: dict[str, float], callbacks: Sequence[Callback]) -> dict[str, Any]:
        """Write the means since the record before, with the gauges of this step, and tell the callbacks."""
        self.guard.flush()
        record: dict[str, Any] = {"step": self.step, **self.meter.read(self.accelerator)}
        if self.step:
            record["learning_rate"] = self._learning_rate(self.step)
        record |= {"seconds": round(time.perf_counter() - self.began, 3), **gauges}
        if self.accelerator.is_main_process and self.log is not None:
            self.log.write(record)
            for callback in callbacks:
                callback(record, self.model)
            self.model.train()
        return record

    def save(self) -> Path | None:
        """Store everything that the next step depends on; the newest two such files are kept."""
        if self.folder is None:
            return None
        self.guard.flush()
        self.left_out.store()
        path = step_path(self.folder, self.step)
        meter = self.meter.state(self.accelerator)
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            save_checkpoint(
                path,
                self.model,
                config=self.whole,
                step=self.step,
                provenance=self.provenance,
                optimizer=self.optimizer.state_dict(),
                scaler=scaler.state_dict() if scaler is not None else None,
                meter=meter,
                seconds=time.perf_counter() - self.began,
                **self.state(),
            )
            prune(self.folder, keep=2)
        self.accelerator.wait_for_everyone()
        return path

    def finish(self) -> None:
        """Store the trained model, without the optimizer, and say what was left out."""
        self.guard.flush()
        self.left_out.store()
        self.left_out.sum_up()
        if self.folder is not None and self.accelerator.is_main_process:
            path = self.folder / FINAL
            save_checkpoint(
                path, self.model, config=self.whole, step=self.step, provenance=self.provenance, **self.state()
            )
        self.accelerator.wait_for_everyone()

    def stop_at(self, error: NonFiniteLossError) -> None:
        """Store the state before a bad step, which the guard has put back, and say where."""
        self.step = error.step - 1
        path = self.save()
        if path is not None:
            error.add_note(f"The state after step {self.step} lies in {path}.")

    def close(self) -> None:
        """End the loader processes and leave the model ready for use."""
        self.model.eval()
        # Loader processes that the garbage collector ends hang for seconds; here they are told to end.
        self.micro_batches.close()
        if self.log is not None:
            self.log.close()

    def _restore(self, entries: dict[str, Any]) -> None:
        mine = {"config": self.whole.to_dict(), "provenance": _compared(self.provenance)}
        stored = {"config": entries["config"], "provenance": _compared(entries["provenance"])}
        refuse_differences(stored, mine, entries["file"])
        load_weights(self.model, entries["model"], entries["file"])
        self.step = entries["step"]
        self.restore_state(entries)
        if not entries["finished"]:
            self.optimizer.load_state_dict(entries["optimizer"])
            self.meter.restore(entries["meter"])
            self.seconds = entries["seconds"]
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(entries["scaler"])

    def _learning_rate(self, step: int) -> float:
        factor = warmup_cosine(step - 1, self.config.warmup_steps, self.config.steps, self.config.start_at_zero)
        return self.config.learning_rate * factor

    def _clip(self) -> Tensor:
        """Clip the gradient; returns its norm before that."""
        if self.config.clip_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self.trained, self.config.clip_norm)
        else:
            self.accelerator.unscale_gradients()
            norm = nn.utils.get_total_norm([p.grad for p in self.trained if p.grad is not None], foreach=True)
        # An overflow that fp16's scaler leaves out shall not hide the other norms in the log.
        return norm if self.accelerator.scaler is None else norm.nan_to_num(0.0, 0.0, 0.0)

    def _micro_batches(self) -> Generator[tuple[int, Any], None, None]:
        """Numbered micro-batches of this process from here on, on its device."""
        sampler = self.sampler
        sampler.first_batch = self.step * self.config.accumulation * sampler.world
        loader: Any = torch.utils.data.DataLoader(
            self.dataset,
            batch_sampler=sampler,
            collate_fn=self.dataset.collate,
            num_workers=self.config.workers,
            pin_memory=self.device.type == "cuda",
            # The loader would draw a seed from the global generator, and disturb the reader's.
            generator=torch.Generator(),
        )
        for number, samples in enumerate(loader):
            self.left_out.add(samples.left_out)
            yield sampler.first_batch + number * sampler.world + sampler.rank, self.dataset.cut(samples, self.device)


def _compared(provenance: dict[str, Any]) -> dict[str, Any]:
    data = {name: provenance["data"][name] for name in ("volumes", "digest", "seed")}
    return {**provenance, "data": data}
