"""A benchmark's protocol: everything that is decided before a score is seen, read from a TOML file.

    name = "my scans, two organs"
    metric = "dice"
    labelled = [1, 5, "all"]
    pretraining_seeds = [0, 1, 2, 3, 4]
    finetuning_seeds = [0, 1]
    comparisons = [["voco", "scratch"]]
    [split]
    validation = 4
    test = 12
    [settings]
    preset = "laptop"
    source = "msd"
    subjects = 40
    organs = ["liver", "spleen"]
    [[conditions]]
    name = "voco"
    pretraining_steps = 800
    finetuning_steps = 300
    settings = { start = "pretrained" }
    [[conditions]]
    name = "scratch"
    finetuning_steps = 300

What `settings` may hold is said by whoever runs it (`voco_lite.benchmark.conditions`). Protocols that come with the package
lie in `voco_lite/benchmark/protocols`: copy one. The file is hashed into every result, so that it cannot change once the
test subjects were looked at.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
import typing
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from voco_lite.benchmark.statistics import MIN_SEEDS, MIN_SUBJECTS
from voco_lite.config.plain import build, plain, require

_LARGEST_FILE = 2**20  # bytes
_OWN = Path(__file__).with_name("protocols")


@dataclass(frozen=True)
class SplitSizes:
    """How many subjects validate and test; the rest trains.

    Attributes:
        validation: For every choice.
        test: Opened once, at the end.
        seed: Of which subject goes where.
    """

    validation: int
    test: int
    seed: int = 0


@dataclass(frozen=True)
class Condition:
    """One of the things that are compared.

    Attributes:
        name: What tables call it.
        pretraining_steps: 0: without pre-training.
        finetuning_steps: Of one run.
        trials: Settings that are tried on validation subjects before the best is used.
        reference: A bound or control that need not have the others' budget, such as all labels or raw coordinates.
        settings: For whoever runs it.
    """

    name: str
    finetuning_steps: int
    pretraining_steps: int = 0
    trials: int = 1
    reference: bool = False
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class SubjectSplit:
    """Names of subjects in three groups that share nobody."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seed: int

    def labelled(self, n: int, pretraining_seed: int, finetuning_seed: int) -> tuple[str, ...]:
        """Which training subjects show their labels: nested in ``n``, and the same for all conditions.

        Each run draws its own, because with few labels it matters most whose they are.
        """
        generator = np.random.default_rng([self.seed, pretraining_seed, finetuning_seed])
        order = generator.permutation(len(self.training)).tolist()
        return tuple(self.training[index] for index in order[:n])


@dataclass(frozen=True)
class Protocol:
    """What is compared, on whom, how often and with which budget.

    Attributes:
        name: Of the benchmark.
        metric: What decides, by the name that the runner gives it.
        labelled: Numbers of labelled training subjects, nested; "all".
        pretraining_seeds, finetuning_seeds: All pairs of them are run.
        split: Sizes of the groups of subjects.
        conditions: What is compared.
        comparisons: Pairs of conditions, first against second: one family.
        higher_is_better: False for distances and errors.
        settings: Of all conditions, for whoever runs them.

    Raises:
        ValueError: Too few seeds or test subjects for a verdict, unequal budgets, or comparisons of unknown conditions.
    """

    name: str
    metric: str
    labelled: tuple[int | Literal["all"], ...]
    pretraining_seeds: tuple[int, ...]
    finetuning_seeds: tuple[int, ...]
    split: SplitSizes
    conditions: tuple[Condition, ...]
    comparisons: tuple[tuple[str, ...], ...]
    higher_is_better: bool = True
    settings: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [condition.name for condition in self.conditions]
        numbers = [n for n in self.labelled if n != "all"]
        require(
            all(n >= 1 for n in numbers), f'labelled must be 1 or more, or "all", got {numbers}. Leave out the rest.'
        )
        require(
            len(set(names)) == len(names) >= 2, f"conditions must be two or more with names of their own, got {names}."
        )
        for key in ("labelled", "pretraining_seeds", "finetuning_seeds"):
            values = getattr(self, key)
            require(bool(values) and len(set(values)) == len(values), f"{key} must be different values, got {values}.")
        seeds = self.pretraining_seeds + self.finetuning_seeds
        require(min(seeds) >= 0, f"Seeds must be 0 or more, got {min(seeds)}. Number them from 0.")
        counts = [(c.name, c.pretraining_steps, c.trials) for c in self.conditions]
        require(
            all(steps >= 0 and trials >= 1 for _, steps, trials in counts),
            f"pretraining_steps must be 0 or more and trials 1 or more, got {counts}. Leave them out for 0 and 1.",
        )
        require(
            len(self.pretraining_seeds) >= MIN_SEEDS and self.split.test >= MIN_SUBJECTS and self.split.validation >= 1,
            f"A verdict needs at least {MIN_SEEDS} pre-training seeds, {MIN_SUBJECTS} test subjects and 1 that validates, "
            f"got {len(self.pretraining_seeds)}, {self.split.test} and {self.split.validation}. Plan more.",
        )
        for pair in self.comparisons:
            known = len(pair) == 2 and pair[0] != pair[1] and set(pair) <= set(names)
            require(known, f"comparisons must be pairs of two of {names}, got {pair}. Correct the names.")
        require(bool(self.comparisons), "comparisons must name a pair, got none. Say now what will be compared.")
        self._require_equal_budgets()

    @property
    def sha256(self) -> str:
        """Of its content, whatever the file's order and comments."""
        return hashlib.sha256(json.dumps(plain(asdict(self)), sort_keys=True).encode()).hexdigest()

    def assign(self, subjects: Sequence[str]) -> SubjectSplit:
        """Put subjects into the three groups, by name, whatever their order.

        Raises:
            ValueError: A repeated name, or too few to train on.
        """
        names, held = sorted(subjects), self.split.validation + self.split.test
        wanted = max((n for n in self.labelled if n != "all"), default=1)
        require(
            len(set(names)) == len(names) >= held + wanted,
            f"{self.name} needs at least {held + wanted} different subjects, got {len(set(names))}. Give more of them.",
        )
        order = np.random.default_rng(self.split.seed).permutation(len(names)).tolist()
        chosen = [names[index] for index in order]
        validation, test = chosen[: self.split.validation], chosen[self.split.validation : held]
        return SubjectSplit(tuple(chosen[held:]), tuple(validation), tuple(test), self.split.seed)

    def counts(self, split: SubjectSplit) -> list[int]:
        """The numbers of labelled subjects, "all" resolved."""
        return sorted({len(split.training) if n == "all" else n for n in self.labelled})

    def _require_equal_budgets(self) -> None:
        equal = [condition for condition in self.conditions if not condition.reference]
        steps = {condition.name: condition.finetuning_steps for condition in equal}
        require(
            len(set(steps.values())) <= 1 and all(n >= 1 for n in steps.values()),
            f"finetuning_steps must be the same for all conditions, got {steps}. Level them, or mark reference = true.",
        )
        pretrained = {c.name: c.pretraining_steps for c in equal if c.pretraining_steps}
        require(
            len(set(pretrained.values())) <= 1,
            f"pretraining_steps must be the same for all pre-trained conditions, got {pretrained}. Level them.",
        )
        trials = {condition.name: condition.trials for condition in equal}
        for first, second in self.comparisons:
            if {first, second} <= set(trials):
                require(
                    trials[first] == trials[second],
                    f"{first!r} and {second!r} must have as many trials to be compared, got {trials[first]} and "
                    f"{trials[second]}. Add a tuned scratch.",
                )


def find_protocol(name: str) -> Path:
    """The file of a protocol: a path, or the name of one that comes with the package.

    Raises:
        FileNotFoundError: Neither.
    """
    path, own = Path(name), {file.stem: file for file in sorted(_OWN.glob("*.toml"))}
    if not path.is_file() and name not in own:
        raise FileNotFoundError(f"There is no protocol {name}. Give a TOML file, or one of {', '.join(own)}.")
    return path if path.is_file() else own[name]


def read_protocol(file: str | Path) -> Protocol:
    """A protocol from a TOML file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no TOML, or does not say what a protocol has to.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no protocol {path}. `voco_lite.benchmark.protocol` shows what one looks like; copy one of {_OWN}."
        )
    require(path.stat().st_size <= _LARGEST_FILE, f"{path} must be at most {_LARGEST_FILE:,} bytes, got more.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return build_protocol(content)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} must be a protocol: {error}") from error


def build_protocol(content: dict[str, Any]) -> Protocol:
    """A protocol from its plain table, as in a TOML file or in `protocol.json`.

    Raises:
        ValueError: It does not say what a protocol has to.
    """
    known = {f.name: f for f in fields(Protocol)}
    unknown = sorted(set(content) - set(known))
    optional = {name for name, f in known.items() if not f.default is f.default_factory is MISSING}
    missing = sorted(set(known) - optional - set(content))
    require(
        not unknown and not missing, f"it has unknown entries {unknown} and lacks {missing}. Known: {sorted(known)}."
    )
    lists: dict[str, Any] = {"pretraining_seeds": int, "finetuning_seeds": int, "conditions": Condition}
    hints = typing.get_type_hints(Protocol)
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name == "labelled":
            values[name] = tuple(n if n == "all" else build(int, n, name) for n in _items(value, name))
        elif name == "comparisons":
            values[name] = tuple(tuple(build(str, c, name) for c in _items(pair, name)) for pair in _items(value, name))
        elif name in lists:
            values[name] = tuple(build(lists[name], item, name) for item in _items(value, name))
        else:
            values[name] = build(hints[name], value, name)
    return Protocol(**values)


def _items(value: Any, name: str) -> list[Any]:
    require(isinstance(value, list), f"{name} must be a list, got {value!r}. Write it in brackets.")
    return list(value)
