"""Watch a training while it runs: terms beside their levels, position accuracy, embeddings, and one crop's bars."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.crops import CropGrid, extract_crops, grid_starts, position_labels, sample_starts
from voco_lite.gauges import effective_rank, position_top1
from voco_lite.gauges import levels as levels_of
from voco_lite.losses import position_similarity
from voco_lite.train import History
from voco_lite.viewers.curves import ACCURACIES, TERMS, draw_accuracies, draw_terms
from voco_lite.viewers.pictures import BLUE, ORANGE, PictureBox, figure_picture, new_figure
from voco_lite.viewers.positions import draw_bars
from voco_lite.viewers.sliding import channels_of, evaluating

if TYPE_CHECKING:
    from voco_lite.model import VoCo
    from voco_lite.volumes import Volume

_RANDOM = 16  # random crops of each watched volume
_WATCHED = 2


class TrainingTheatre(PictureBox):
    """A picture of a run that `pretrain(…, callbacks=[theatre])` keeps up to date.

    It is drawn at the first record, at the last one, and in between no more often than ``every`` seconds and than its
    own cost allows. It draws no chance that the run uses and leaves weights and mode alone.

    Args:
        volumes: Held-out volumes whose crops are watched, prepared as the training volumes; two are used.
        every: Seconds between two pictures, at least.
        most: Largest share of the time since the first record that pictures may take; a run so short that the first and
            the last cost more exceeds it.

    Attributes:
        history: The records so far.
        top1: (step, share) at each picture: crops of the watched volumes whose most similar base crop is right.
        seconds: What was spent: "gauges", the embedding of the watched crops, and "drawing".
        pictures: How many were drawn.

    Raises:
        ValueError: No volume, or a cadence or share that is not positive.
    """

    def __init__(
        self, volumes: Sequence[Volume | Tensor] | Volume | Tensor, every: float = 10.0, most: float = 0.03
    ) -> None:
        watched = list(volumes) if isinstance(volumes, Sequence) else [volumes]
        if not watched or not every >= 0 or not 0 < most <= 1:
            raise ValueError(
                f"theatre needs at least 1 volume, every >= 0 seconds and 0 < most <= 1, got {len(watched)}, {every} and "
                f"{most}. Give a held-out volume."
            )
        self.volumes, self.every, self.most = [channels_of(volume) for volume in watched[:_WATCHED]], every, most
        super().__init__([])
        self._begin()
        words = "The picture comes with the first record."
        figure = new_figure(6, 1, quick=True)
        figure.text(0.5, 0.5, words, ha="center", va="center")
        self.show(figure_picture(figure, words), words)

    def _begin(self) -> None:
        self.history, self.pictures, self.top1 = History(), 0, list[tuple[int, float]]()
        self.seconds = {"gauges": 0.0, "drawing": 0.0}
        self._first: Float[Tensor, "crops dim"] | None = None
        self._began = self._shown = self._last_cost = 0.0

    @property
    def share(self) -> float:
        """Share of the time since the first record that the theatre took itself."""
        whole = self._shown - self._began
        return sum(self.seconds.values()) / whole if whole > 0 else 0.0

    def __call__(self, record: dict[str, Any], model: VoCo) -> None:
        """Take up a record; draw where it is time to."""
        now = time.perf_counter()
        if self.history.records and record["step"] <= self.history.steps:
            self._begin()  # another run
        if not self.history.records:
            self._began = now
        self.history.records.append(dict(record))
        # This picture and the last one, which is drawn in any case.
        cost = sum(self.seconds.values()) + 2 * self._last_cost
        affordable = cost <= self.most * (now - self._began)
        due = now - self._shown >= self.every and affordable
        if not self.pictures or record["step"] >= model.config.train.steps or due:
            self.redraw(model)
            self._shown = time.perf_counter()
            self._last_cost = self._shown - now

    def redraw(self, model: VoCo) -> None:
        """Measure the watched crops and draw, whatever the time."""
        started = time.perf_counter()
        grid = CropGrid.from_config(model.config.crops)
        predicted, labels, embedded = _measure(model, self.volumes, grid)
        self.top1.append((self.history.steps, position_top1(predicted, labels)))
        self._first = embedded if self._first is None else self._first
        measured = time.perf_counter()
        self._draw(model, grid, embedded, labels[0, 0], predicted[0, 0])
        self.pictures += 1
        self.seconds["gauges"] += measured - started
        self.seconds["drawing"] += time.perf_counter() - measured

    def _draw(self, model: VoCo, grid: CropGrid, embedded: Tensor, label: Tensor, predicted: Tensor) -> None:
        figure = new_figure(10, 6.2, quick=True)
        figure.subplots_adjust(left=0.07, right=0.985, bottom=0.08, top=0.95, wspace=0.2, hspace=0.36)
        (losses, accuracy), (spectrum, bars) = figure.subplots(2, 2)
        shown = [entry for entry in TERMS if entry[0] in self.history.names]
        draw_terms(losses, self.history, shown, levels_of(model.config.crops, model.objective))
        found = [entry for entry in ACCURACIES if entry[0] in self.history.names]
        if found:
            draw_accuracies(accuracy, self.history, found)
        else:
            self._draw_top1(accuracy)
        ranks = [effective_rank(vectors) for vectors in (self._first, embedded) if vectors is not None]
        self._draw_spectra(spectrum, embedded, ranks)
        draw_bars(bars, label, grid, predicted)
        bars.set_title("one fixed crop", fontsize=10)
        words = self._in_words(ranks, label, predicted)
        self.show(figure_picture(figure, words), words)

    def _draw_top1(self, axes: Any) -> None:
        axes.plot(*zip(*self.top1, strict=True), "o-", color=BLUE, markersize=4)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("share of watched crops found", fontsize=9)
        axes.set_xlabel("optimizer step", fontsize=9)
        axes.tick_params(labelsize=8)

    def _draw_spectra(self, axes: Any, embedded: Float[Tensor, "crops dim"], ranks: list[float]) -> None:
        names = (f"step {self.top1[0][0]}", f"step {self.history.steps}")
        for vectors, name, rank, style, colour in zip(
            (self._first, embedded), names, ranks, (".--", ".-"), (ORANGE, BLUE), strict=True
        ):
            values = torch.linalg.svdvals((vectors - vectors.mean(0)).double())[: len(vectors) - 1]  # type: ignore[operator, union-attr, arg-type]
            share = (values / values.sum().clamp(min=1e-12)).clamp(min=1e-6)
            axes.semilogy(range(1, len(share) + 1), share.tolist(), style, color=colour, markersize=4,
                          label=f"{name}: effective rank {rank:.1f}")  # fmt: skip
        axes.set_ylabel("share of all singular values", fontsize=9)
        axes.set_xlabel("direction, strongest first", fontsize=9)
        axes.legend(fontsize=8)
        axes.tick_params(labelsize=8)

    def _in_words(self, ranks: list[float], label: Tensor, predicted: Tensor) -> str:
        record = self.history.records[-1]
        loss = f"intra-volume loss {record['intra']:.2f}, " if "intra" in record else ""
        return (
            f"Step {self.history.steps}: {loss}watched crops found {self.top1[-1][1]:.0%} "
            f"(at step {self.top1[0][0]}: {self.top1[0][1]:.0%}), effective rank {ranks[-1]:.1f}. "
            f"The fixed crop lies mostly in base crop {int(label.argmax())}; the largest prediction is base crop "
            f"{int(predicted.argmax())}."
        )


def _measure(
    model: VoCo, volumes: Sequence[Float[Tensor, "channel x y z"]], grid: CropGrid
) -> tuple[Float[Tensor, "volumes random bases"], Float[Tensor, "volumes random bases"], Float[Tensor, "crops dim"]]:
    """Predictions, labels and embeddings of the same crops each time, in one batch, by the teacher."""
    starts = sample_starts(_RANDOM, grid, torch.Generator().manual_seed(0))
    cut = []
    for data in volumes:
        first = [(have - want) // 2 for have, want in zip(data.shape[1:], grid.block_size, strict=True)]
        x, y, z = (slice(a, a + n) for a, n in zip(first, grid.block_size, strict=True))
        block = data[:, x, y, z]
        random = extract_crops(block, starts, grid.random_size, grid.network_size)
        cut.append(torch.cat([random, extract_crops(block, grid_starts(grid), grid.crop_size, grid.network_size)]))
    with evaluating(model):
        embedded = model.project(torch.cat(cut).to(next(model.parameters()).device)).float().cpu()
    each = embedded.unflatten(0, (len(volumes), -1))
    predicted = position_similarity(each[:, :_RANDOM], each[:, _RANDOM:])
    return predicted, position_labels(starts, grid).expand_as(predicted), embedded
