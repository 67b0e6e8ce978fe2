"""Run the cells of a registration benchmark: how near does a network come to the known matches of made subjects?"""

from __future__ import annotations

from voco_lite.benchmark.cells import CellRunner
from voco_lite.benchmark.planning import Cell
from voco_lite.downstream.affine import register_affine
from voco_lite.downstream.registrar import Register, examine
from voco_lite.downstream.registration import RegistrationConfig, RegistrationTask

TARGET = "target error, mm"
METRIC = "dice"
_WAY = "this"


class RegistrationRunner(CellRunner):
    """Scores each subject as the fixed scan of a pair; training sees no labels of the labelled subjects."""

    def __call__(self, cell: Cell) -> dict[str, dict[str, float]]:
        """Target error in mm and Dice of warped labels, by fixed subject."""
        plan = self.plans[cell.condition.name]
        register: Register = register_affine
        if plan.recipe.head != "affine":
            config = RegistrationConfig(organs=self.material.organs)
            task = self._fit(plan, cell, lambda start, split, seed: RegistrationTask(start, split, config, seed))
            task.network.eval()
            register = task.register
        rows = examine({_WAY: register}, self._named(cell.scored), self.material.organs).rows
        return {TARGET: {row.fixed: row.target_mm for row in rows}, METRIC: {row.fixed: row.dice for row in rows}}
