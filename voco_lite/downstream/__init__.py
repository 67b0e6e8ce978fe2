"""Fine-tuning: one loop for every task, and the tasks, each a module of its own that loads MONAI when it is imported."""

from voco_lite.downstream.config import FinetuneConfig
from voco_lite.downstream.fit import Fitted, fit, score_subjects
from voco_lite.downstream.split import Split, split_subjects
from voco_lite.downstream.start import Start, pretrained, untrained
from voco_lite.downstream.task import Task, TaskNetwork

__all__ = [
    "FinetuneConfig",
    "Fitted",
    "Split",
    "Start",
    "Task",
    "TaskNetwork",
    "fit",
    "pretrained",
    "score_subjects",
    "split_subjects",
    "untrained",
]
