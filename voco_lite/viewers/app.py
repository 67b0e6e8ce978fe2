"""The position explorer for those who write no code: choose a volume and a network, then drag the crop."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import ipywidgets

from voco_lite import samples
from voco_lite.checkpoints import FINAL, load_model
from voco_lite.config import PretrainConfig, VolumeConfig
from voco_lite.model import VoCo
from voco_lite.viewers.explorer import PositionExplorer, explore_positions
from voco_lite.volumes import Volume, load_volume

DRAWN, WARPED, REAL, FILE = "a body drawn by code", "a warp of the real CT", "the real CT", "a file on this machine"
NO_NETWORK, UNTRAINED = "none: true overlaps only", "untrained"
_SEED = 1000  # no subject that the notebooks train on


class PositionApp(ipywidgets.VBox):
    """Choices, a button, and the explorer of what was chosen; a wrong choice is explained and the explorer stays.

    Args:
        runs: Folder that is searched for trained networks.
        config: Of crops, volume and network where none is trained; None: the preset "laptop".

    Attributes:
        volume: Choice of a volume.
        file: Path of a NIfTI file or of the folder of a DICOM series, for the choice "a file on this machine".
        network: Choice of a network; a trained one brings its configuration.
        button: Shows what was chosen.
        message: What was wrong, if something was.
        explorer: What is shown.
    """

    def __init__(self, runs: str | Path = "runs", config: PretrainConfig | None = None) -> None:
        self.config = config or PretrainConfig.preset("laptop")
        found = sorted(Path(runs).rglob(FINAL))
        self._trained = {f"trained: {path.parent.relative_to(runs)}": path for path in found}
        self.volume = ipywidgets.Dropdown(options=[DRAWN, WARPED, REAL, FILE], description="volume")
        self.file = ipywidgets.Text(description="file", placeholder="scan.nii.gz, or the folder of a DICOM series")
        self.network = ipywidgets.Dropdown(options=[NO_NETWORK, UNTRAINED, *self._trained], description="network")
        self.button = ipywidgets.Button(description="Show")
        self.message = ipywidgets.HTML()
        self.explorer: PositionExplorer | None = None
        self._controls = [ipywidgets.HBox([self.volume, self.network, self.button]), self.file, self.message]
        super().__init__(self._controls)
        self.button.on_click(self.show)
        self.show()

    def show(self, _: Any = None) -> None:
        """Make the explorer of what is chosen now."""
        try:
            model = self._chosen_network()
            config = model.config if model is not None else self.config
            self.explorer = explore_positions(model, self._chosen_volume(config.volume), config.crops)
        except (ValueError, FileNotFoundError) as error:
            self.message.value = f'<div role="alert">{html.escape(str(error))}</div>'
            return
        self.message.value = ""
        self.children = [*self._controls, self.explorer]

    def _chosen_network(self) -> VoCo | None:
        if self.network.value == NO_NETWORK:
            return None
        return VoCo(self.config) if self.network.value == UNTRAINED else load_model(self._trained[self.network.value])

    def _chosen_volume(self, config: VolumeConfig) -> Volume:
        if self.volume.value == FILE:
            if not self.file.value.strip():
                raise ValueError("The file must be named, got nothing. Write the path of a scan, then press Show.")
            return load_volume(self.file.value.strip(), config)
        if self.volume.value == REAL:
            return samples.abdomen_ct(config)
        return samples.population(
            1, config, first_seed=_SEED, source="real" if self.volume.value == WARPED else "phantom"
        )[0]
