"""Curves and matrices of a run, against the levels that give them meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.config import CropConfig, PretrainConfig
from voco_lite.gauges import Levels, effective_rank
from voco_lite.gauges import levels as levels_of
from voco_lite.objectives import objective
from voco_lite.train.resume import CONFIG
from voco_lite.viewers.pictures import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY, Picture, figure_picture, new_figure

if TYPE_CHECKING:
    from voco_lite.train import History

TERMS = (
    ("intra", "intra-volume", BLUE, "-"),
    ("inter", "inter-volume", SKY, "--"),
    ("regularization", "regularization", GREEN, ":"),
    ("held_out/intra_loss", "intra-volume, held out", RED, "o-"),
)
ACCURACIES = (
    ("held_out/top1", "position top-1", BLUE, "o-"),
    ("held_out/top1_across", "position top-1 across subjects", ORANGE, "s--"),
)
_LEVELS = (
    ("orthogonal", "all similarities 0: nothing learnt"),
    ("best_constant", "best constant similarity"),
    ("oracle", "perfect"),
)
_COLOURS = (BLUE, ORANGE, GREEN, RED, PINK, SKY, BLACK)


def plot_history(history: History, levels: Levels | CropConfig | None = None) -> Picture:
    """Loss terms and held-out accuracy over the steps, with the levels of simple predictions behind them.

    Args:
        history: Of a run, finished or not.
        levels: From `gauges.levels`, or the crops to compute them for; None: of the run folder's configuration, or of
            the 3 x 3 grid where the run has no folder.

    Raises:
        ValueError: A history without any loss.
    """
    shown = [entry for entry in TERMS if entry[0] in history.names]
    if not shown:
        raise ValueError("history must hold at least one record with losses, got none. Train a few steps first.")
    lines = levels if isinstance(levels, Levels) else levels_of(levels) if levels else _levels_of_run(history)
    accuracies = [entry for entry in ACCURACIES if entry[0] in history.names]
    figure = new_figure(10 if accuracies else 6, 3.8)
    axes = figure.subplots(1, 2 if accuracies else 1, squeeze=False)[0]
    draw_terms(axes[0], history, shown, lines)
    if accuracies:
        draw_accuracies(axes[1], history, accuracies)
    return figure_picture(figure, _history_in_words(history, [entry[:2] for entry in (*shown, *accuracies)]))


def _levels_of_run(history: History) -> Levels:
    file = history.run_folder / CONFIG if history.run_folder is not None else None
    if file is None or not file.is_file():
        return levels_of(CropConfig())
    config = PretrainConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
    return levels_of(config.crops, objective(config.objective.name, config.objective.mode))


def draw_terms(axes: Any, history: History, shown: list[tuple[str, str, str, str]], lines: Levels) -> None:
    """Loss terms over the steps, with the levels of simple predictions."""
    highest = 0.0
    for name, label, colour, style in shown:
        steps, values = history[name]
        axes.plot(steps, values, style, color=colour, label=label, markersize=4)
        highest = max(highest, max(values))
    for name, label in _LEVELS:
        value = max(getattr(lines, name), 0.0)  # the 1e-6 in the logarithm makes perfect slightly negative
        # No curve goes below 0, so that the lowest word is in nobody's way.
        _mark_level(axes, label, value, BLACK, "top" if name == "oracle" else "bottom")
    top = max(1.15 * lines.orthogonal, 1.05 * min(highest, 2.5 * lines.orthogonal))
    axes.set_ylim(-0.09 * top, top)
    finish_axes(axes, "loss", "optimizer step")


def draw_accuracies(axes: Any, history: History, accuracies: list[tuple[str, str, str, str]]) -> None:
    """Held-out accuracies over the steps, each beside its untrained value and chance."""
    # Both may start alike: one number stands above its line, the other below.
    for (name, label, colour, style), side in zip(accuracies, ("bottom", "top"), strict=False):
        steps, values = history[name]
        axes.plot(steps, values, style, color=colour, label=label, markersize=4)
        _mark_level(axes, "untrained", values[0], colour, side)
    first = history.first_held_out
    if first is not None:
        _mark_level(axes, "a cell at random", first.chance)
    axes.set_ylim(0, 1.02)
    finish_axes(axes, "share of held-out crops found", "optimizer step")


def _mark_level(axes: Any, name: str, value: float, colour: str = BLACK, side: str = "bottom") -> None:
    """A line across, and at its right end what it stands for, rimmed in white so that it is read over a curve."""
    from matplotlib.patheffects import withStroke

    axes.axhline(value, color=colour, linewidth=0.8, alpha=0.6)
    axes.annotate(f"{name} ({value:.2f})", (0.99, value), (0, 1 if side == "bottom" else -2),
                  axes.get_yaxis_transform(), "offset points", fontsize=7, ha="right", va=side, color=colour,
                  path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip


def finish_axes(axes: Any, ylabel: str, xlabel: str) -> None:
    """Labels, legend and small numbers, alike in all plots."""
    axes.set_ylabel(ylabel, fontsize=9)
    axes.set_xlabel(xlabel, fontsize=9)
    axes.legend(fontsize=7, loc="best")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _history_in_words(history: History, shown: list[tuple[str, str]]) -> str:
    parts = []
    for name, label in shown:
        values = history[name][1]
        parts.append(f"{label} from {values[0]:.2f} to {values[-1]:.2f}")
    return f"Curves over {history.steps} steps: {'; '.join(parts)}."


def plot_similarity(
    similarity: Float[Tensor, "rows columns"],
    labels: Float[Tensor, "rows columns"] | None = None,
    titles: tuple[str, str] = ("predicted overlap", "true overlap"),
    names: tuple[str, str] = ("base crop", "random crop"),
) -> Picture:
    """A matrix of similarities, and beside it the matrix that it should equal; values are written into small ones.

    Args:
        similarity: Values in [0, 1] for colour; others are shown at the end of the scale.
        labels: What they should be.
        titles: Of the two matrices.
        names: Of columns and rows.
    """
    matrices = [similarity] if labels is None else [similarity, labels]
    rows, columns = similarity.shape
    figure = new_figure(min(1.5 + 0.45 * columns, 7) * len(matrices), min(1.4 + 0.42 * rows, 6))
    for axes, matrix, title in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices, titles, strict=False):
        values = matrix.detach().float().cpu()
        shown = axes.imshow(values.numpy(), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for row, column in (
            torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).tolist() if columns <= 16 else ()
        ):
            value = float(values[row, column])
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7,
                      color="black" if value > 0.5 else "white")  # fmt: skip
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(names[0], fontsize=8)
        axes.set_ylabel(names[1], fontsize=8)
        axes.set_xticks(range(0, columns, max(columns // 16, 1)))
        axes.set_yticks(range(0, rows, max(rows // 16, 1)))
        axes.tick_params(labelsize=7)
    figure.colorbar(shown, ax=figure.axes)
    words = f"Matrix, {rows} {names[1]} rows, {columns} {names[0]} columns: {titles[0]}, mean {float(similarity.mean()):.2f}"
    if labels is not None:
        words += f"; {titles[1]}, mean absolute difference {float((similarity - labels).abs().mean()):.2f}"
    return figure_picture(figure, words + ".")


def plot_spectrum(embeddings: Mapping[str, Float[Tensor, "crops dim"]] | Float[Tensor, "crops dim"]) -> Picture:
    """Singular values of centred embeddings, largest first, as shares of their sum; the legend has the effective rank.

    Args:
        embeddings: One set, or several by name.
    """
    sets = {"embeddings": embeddings} if isinstance(embeddings, Tensor) else dict(embeddings)
    figure, words = new_figure(6, 3.6), []
    axes = figure.subplots()
    for i, (name, vectors) in enumerate(sets.items()):
        values = torch.linalg.svdvals((vectors - vectors.mean(0)).double().cpu())
        values = values[: len(vectors) - 1]  # centring takes one direction away
        rank = effective_rank(vectors)
        share = values / values.sum().clamp(min=1e-12)
        axes.semilogy(range(1, len(share) + 1), share.clamp(min=1e-6).tolist(), "os^vDP*"[i % 7] + "-", markersize=3,
                      color=_COLOURS[i % len(_COLOURS)], label=f"{name}: effective rank {rank:.1f}")  # fmt: skip
        words.append(f"{name}: effective rank {rank:.1f}")
    finish_axes(axes, "share of all singular values", "direction, strongest first")
    return figure_picture(figure, f"Singular values of embeddings. {'; '.join(words)}.")


def plot_curves(
    curves: Mapping[str, tuple[Sequence[float] | Tensor, Sequence[float] | Tensor]],
    xlabel: str,
    ylabel: str,
    marks: Mapping[str, float] | None = None,
) -> Picture:
    """Named curves in one plot.

    Args:
        curves: Places along x and values, by name.
        xlabel: What runs along x.
        ylabel: What the values are.
        marks: Levels to draw across, by name.

    Raises:
        ValueError: No curve.
    """
    if not curves:
        raise ValueError("curves must hold at least one, got none. Give {name: (x, y)}.")
    figure, words = new_figure(6, 3.6), []
    axes, styles = figure.subplots(), ("-", "--", ":", "-.")
    for i, (name, (x, y)) in enumerate(curves.items()):
        places, values = torch.as_tensor(x).tolist(), torch.as_tensor(y).tolist()
        axes.plot(places, values, styles[i % 4], color=_COLOURS[i % len(_COLOURS)], label=name)
        first, last = (f"{round(value, 2) + 0.0:.2f}" for value in (values[0], values[-1]))  # no "-0.00"
        words.append(f"{name} from {first} at {places[0]:.4g} to {last} at {places[-1]:.4g}")
    for name, value in (marks or {}).items():
        _mark_level(axes, name, value)
    finish_axes(axes, ylabel, xlabel)
    return figure_picture(figure, f"{ylabel} over {xlabel}: {'; '.join(words)}.")
