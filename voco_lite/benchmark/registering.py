"""Run the cells of a registration benchmark: how near does a network come to the known matches of made subjects?"""

from __future__ import annotations

from voco_lite.benchmark.cells import CellRunner
from voco_lite.benchmark.conditions import DICE, FOLDED, TARGET, Plan
from voco_lite.benchmark.planning import Cell
from voco_lite.config import Size
from voco_lite.downstream.affine import no_displacement, register_affine
from voco_lite.downstream.registrar import Register, examine
from voco_lite.downstream.registration import RegistrationConfig, RegistrationTask

_WAY = "this"
_WITHOUT: dict[str, Register] = {"affine": register_affine, "identity": no_displacement}


class RegistrationRunner(CellRunner):
    """Scores each subject as the fixed scan of a pair, with the next subject as the moving one.

    Training looks at no label; which weights are kept is decided by the labels of the validation subjects. A subject is in
    two pairs, so that scores are not quite independent, as the statistics take them to be.
    """

    def seen_at_once(self, plan: Plan) -> Size:
        """A whole scan."""
        return next(iter(self.subjects.values())).shape

    def __call__(self, cell: Cell) -> dict[str, dict[str, float]]:
        """Target error in mm, Dice of warped labels, and share of voxels where space folds, by fixed subject."""
        plan = self.plans[cell.condition.name]
        if plan.recipe.head in _WITHOUT:
            register = _WITHOUT[plan.recipe.head]
        else:
            config = RegistrationConfig(organs=self.material.organs)
            task = self._fit(plan, cell, lambda start, split, seed: RegistrationTask(start, split, config, seed))
            task.network.eval()
            register = task.register
        rows = examine({_WAY: register}, self._named(cell.scored), self.material.organs).rows
        return {
            TARGET: {row.fixed: row.target_mm for row in rows},
            DICE: {row.fixed: row.dice for row in rows},
            FOLDED: {row.fixed: row.folded for row in rows},
        }
