"""On CUDA: every precision trains, runs are resumed, losses agree with the CPU's, and no step waits for the device."""

from contextlib import contextmanager

import pytest
import torch

from tiny_run import same_weights, tiny_config, tiny_volumes, train, weights
from voco_lite.checkpoints import load_checkpoint
from voco_lite.config import PretrainConfig
from voco_lite.dataset import VoCoDataset
from voco_lite.model import VoCo
from voco_lite.train import History
from voco_lite.train.hardware import open_accelerator
from voco_lite.train.run import Run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")]


def gpu_config(**changes) -> PretrainConfig:
    return tiny_config(**{"device": "cuda", "steps": 6} | changes)


@contextmanager
def started(config: PretrainConfig):
    """A run before its first step."""
    with open_accelerator(config.train) as accelerator:
        run = Run(accelerator, VoCo(config), VoCoDataset(tiny_volumes(), config.crops), config)
        run.begin()
        try:
            yield run
        finally:
            run.close()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains(precision):
    model, history = train(gpu_config(precision=precision, steps=30, learning_rate=1e-3))
    losses = history["total"][1]
    assert sum(losses[-5:]) < sum(losses[:5]) and all(torch.isfinite(t).all() for t in weights(model).values())


@pytest.mark.parametrize("encoder", ["conv-tiny", "swin-tiny"])
def test_a_compiled_encoder_computes_what_it_computes_otherwise(encoder):
    size = {"crop_size": (64, 64, 64)} if encoder.startswith("swin") else {}
    config = gpu_config(encoder__name=encoder, steps=1, **size)
    first = [train(config.changed(compile=compiled))[1]["total"][1][0] for compiled in (False, True)]
    assert first[1] == pytest.approx(first[0], rel=1e-3)


def test_half_precision_runs_with_a_scaler_that_is_stored(tmp_path):
    config = gpu_config(precision="fp16", checkpoint_every=3, run_folder=str(tmp_path))
    train(config)
    entries = torch.load(tmp_path / "checkpoints" / "step-00000006.pt", weights_only=True)
    assert entries["scaler"]["scale"] > 0


def test_brain_floats_need_no_scaler():
    with started(gpu_config(precision="bf16")) as run:
        assert run.accelerator.scaler is None


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_an_interrupted_run_is_resumed(precision, tmp_path):
    class Interruption(Exception):
        pass

    def stop(record, _):
        if record["step"] == 4:
            raise Interruption

    changes = {"precision": precision, "checkpoint_every": 3}
    whole, _ = train(gpu_config(**changes))
    config = gpu_config(**changes, run_folder=str(tmp_path))
    with pytest.raises(Interruption):
        train(config, callbacks=[stop])
    resumed, history = train(config)
    assert history.steps == 6
    for name, value in weights(whole).items():
        # Convolutions on CUDA add in an order of their own.
        torch.testing.assert_close(weights(resumed)[name], value, rtol=0, atol=5e-3, msg=lambda m, n=name: f"{n}: {m}")


def _train_from_a_notebook(run_folder):
    train(gpu_config(run_folder=run_folder))


def test_a_notebook_starts_the_same_run(tmp_path):
    from accelerate import notebook_launcher

    notebook_launcher(_train_from_a_notebook, (str(tmp_path),), num_processes=1)
    history = History.load(tmp_path)
    assert history.steps == 6 and load_checkpoint(tmp_path / "final.pt")["provenance"]["device"].startswith("cuda")


def test_a_model_trained_on_cuda_is_loaded_on_the_cpu(tmp_path):
    import voco_lite as vl

    model, _ = train(gpu_config(run_folder=str(tmp_path)))
    loaded = vl.load_model(tmp_path)
    assert next(loaded.parameters()).device.type == "cpu" and same_weights(weights(loaded), weights(model.cpu()))


@pytest.mark.parametrize("name", ["tpami25", "cvpr24", "cvpr24-head"])
def test_losses_agree_with_the_cpu(name):
    config = tiny_config(objective__name=name, dropout=0.0, norm="group")
    batch = VoCoDataset(tiny_volumes(), config.crops).batch([0, 1])
    model = VoCo(config).train()
    on_cpu = model(batch, update_teacher=False)
    on_cuda = model.cuda()(batch.to("cuda"), update_teacher=False)
    torch.testing.assert_close(on_cuda.total.cpu(), on_cpu.total, rtol=1e-3, atol=1e-3)
    for term, value in on_cpu.terms.items():
        torch.testing.assert_close(on_cuda.terms[term].cpu(), value, rtol=1e-3, atol=1e-3)


def test_crops_cut_on_the_gpu_are_those_cut_on_the_cpu():
    config = tiny_config(flip_probability=0.5, rotate_probability=0.5)
    dataset = VoCoDataset(tiny_volumes(), config.crops)
    one, other = dataset.batch([0, 1, 2]), dataset.batch([0, 1, 2], "cuda")
    assert other.base_crops.is_cuda
    for field in ("random_crops", "base_crops", "position_labels"):
        torch.testing.assert_close(getattr(other, field).cpu(), getattr(one, field))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("encoder", "merging"), [("conv-tiny", "current"), ("swin-tiny", "current"), ("swin-tiny", "legacy")]
)
def test_a_step_never_waits_for_the_device(precision, encoder, merging):
    # fp16's scaler has to read its flag, and is exempt.
    size = {"crop_size": (64, 64, 64)} if encoder.startswith("swin") else {}
    config = gpu_config(precision=precision, encoder__name=encoder, merging=merging, steps=20, **size)
    with started(config) as run:
        for step in (1, 2, 3):
            run.take_step(step)
            run.guard.keep(step)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in (4, 5, 6):
                run.take_step(step)
                run.guard.keep(step)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_tf32_is_switched_for_the_run_only():
    before = torch.backends.cuda.matmul.allow_tf32
    with open_accelerator(gpu_config(tf32=not before).train):
        assert torch.backends.cuda.matmul.allow_tf32 is not before
    assert torch.backends.cuda.matmul.allow_tf32 is before


def test_activation_checkpointing_saves_memory():
    peaks = {}
    for checkpointing in (False, True):
        config = gpu_config(
            encoder__name="swin-tiny", crop_size=(64, 64, 64), activation_checkpointing=checkpointing, precision="bf16"
        )
        with started(config) as run:
            run.take_step(1)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            run.take_step(2)
            peaks[checkpointing] = torch.cuda.max_memory_allocated()
    assert peaks[True] < 0.8 * peaks[False]
