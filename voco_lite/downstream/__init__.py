"""Fine-tuning: one loop for every task, and the tasks."""

from voco_lite.downstream.config import FinetuneConfig
from voco_lite.downstream.fit import Fitted, fit, score_subjects
from voco_lite.downstream.split import Split, split_subjects
from voco_lite.downstream.task import Task, TaskNetwork

__all__ = ["FinetuneConfig", "Fitted", "Split", "Task", "TaskNetwork", "fit", "score_subjects", "split_subjects"]
