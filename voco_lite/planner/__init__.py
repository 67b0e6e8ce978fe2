"""What a run will take: time, memory and disk, predicted from measured steps and never from a guess.

`measured_steps.json` here holds what was measured, one row for a machine, a precision and the settings that decide what
a step costs. A plan multiplies; where no row fits it knows no time and no memory, and says how to measure.
"""

from voco_lite.planner.data import DataSize, folder_data, made_data
from voco_lite.planner.measuring import here, machine_name, measure
from voco_lite.planner.predicting import RunPlan, plan
from voco_lite.planner.table import TABLE, MeasuredStep, add_row, cost_settings, find_row, read_table

__all__ = [
    "TABLE",
    "DataSize",
    "MeasuredStep",
    "RunPlan",
    "add_row",
    "cost_settings",
    "find_row",
    "folder_data",
    "here",
    "machine_name",
    "made_data",
    "measure",
    "plan",
    "read_table",
]
