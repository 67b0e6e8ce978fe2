"""One check per exercise of the notebooks, and the bands of expected outcomes.

A check prints one line: ✓ and what the answer means, ✗ and a hint for the mistake that was made, or ○ when the answer
is not written yet. It never raises, and it does not change what it is given.
"""

from voco_lite.checks.bands import OutsideBand, expect
from voco_lite.checks.on_benchmarks import steps_to_target, what_the_table_says
from voco_lite.checks.on_classification import always_the_most_frequent, area_under_the_curve
from voco_lite.checks.on_comparison import paired_t, share_gained, step_down, steps_of_a_schedule
from voco_lite.checks.on_crops import four_quarters, grid_starts, position_labels
from voco_lite.checks.on_explorers import best_match, same_share
from voco_lite.checks.on_losses import negative_term, position_similarity, positive_term, reachable_crop
from voco_lite.checks.on_processes import averaged_gradients, micro_batches
from voco_lite.checks.on_registration import folding, target_error
from voco_lite.checks.on_segmentation import dice_of_an_organ, what_one_run_says
from voco_lite.checks.on_teacher import ema, half_life, stop_gradient
from voco_lite.checks.on_training import diagnosis, effective_rank, orthogonal_level, top1, why_untrained_is_good
from voco_lite.checks.on_vision_language import recall, spread_targets
from voco_lite.checks.on_volumes import megabytes, new_shape, position_mm, value_at, window
from voco_lite.checks.on_weights import inflated_channels, merged_corners

__all__ = [
    "OutsideBand",
    "always_the_most_frequent",
    "area_under_the_curve",
    "averaged_gradients",
    "best_match",
    "diagnosis",
    "dice_of_an_organ",
    "effective_rank",
    "ema",
    "expect",
    "folding",
    "four_quarters",
    "grid_starts",
    "half_life",
    "inflated_channels",
    "megabytes",
    "merged_corners",
    "micro_batches",
    "negative_term",
    "new_shape",
    "orthogonal_level",
    "paired_t",
    "position_labels",
    "position_mm",
    "position_similarity",
    "positive_term",
    "reachable_crop",
    "recall",
    "same_share",
    "share_gained",
    "spread_targets",
    "step_down",
    "steps_of_a_schedule",
    "steps_to_target",
    "stop_gradient",
    "target_error",
    "top1",
    "value_at",
    "what_one_run_says",
    "what_the_table_says",
    "why_untrained_is_good",
    "window",
]
