"""Vision-language alignment: the loss against closed forms and torch, draws, scores, the way back from a file."""

import math

import pytest
import torch
import torch.nn.functional as F

from tiny_reports import Hashed, lesion, scan
from tiny_run import same_weights, weights
from tiny_task import finetune, tiny_finetuning
from voco_lite.config import EncoderConfig, PretrainConfig, VolumeConfig
from voco_lite.downstream import Split, fit, score_subjects
from voco_lite.downstream.aligner import Aligner, examine, load_aligner, reports_of
from voco_lite.downstream.sentences import FACTS, Fact, facts_of, marks, wordings
from voco_lite.downstream.start import Start, untrained
from voco_lite.downstream.text_encoder import embed_text
from voco_lite.downstream.vision_language import (
    VisionLanguageConfig,
    VisionLanguageTask,
    contrastive_loss,
    fitting,
    probability,
)
from voco_lite.encoders import ConvEncoder

PHASE = ("contrast_phase",)


def start():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Start(ConvEncoder((8, 8, 8)), EncoderConfig(), VolumeConfig())


def task(training=None, **changes):
    config = VisionLanguageConfig(**({"crop_size": (8, 8, 8), "width": 8} | changes))
    split = Split(training or [scan(i) for i in range(6)], [scan(100), scan(101)])
    return VisionLanguageTask(start(), split, config, Hashed())


def drawn(made, index=0, seed=0):
    return made.sample(index, torch.Generator().manual_seed(seed))


def batch(made, indices=(0, 1, 2)):
    examples = [drawn(made, index, seed) for seed, index in enumerate(indices)]
    return {name: torch.stack([example[name] for example in examples]) for name in examples[0]}


def noise(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


# The loss


def test_with_one_match_each_the_loss_is_torch_s_cross_entropy_both_ways():
    logits, right = noise(5, 5), torch.arange(5)
    expected = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    torch.testing.assert_close(contrastive_loss(logits, torch.eye(5).bool()), expected)


def test_loss_of_a_constant_is_the_logarithm_of_the_number_of_candidates():
    fits = torch.eye(4, 4).bool()
    fits[0, 1] = True
    found = contrastive_loss(torch.full((4, 4), 3.0), fits)
    torch.testing.assert_close(found, torch.tensor(math.log(4)))


def test_a_text_that_fits_two_scans_costs_least_where_both_are_equally_near():
    fits = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    even = torch.where(fits, 50.0, 0.0)
    torch.testing.assert_close(contrastive_loss(even, fits), torch.tensor(2 * math.log(2) / 3))
    odd = even.clone()
    odd[0, 0] += 2.0
    assert contrastive_loss(odd, fits) > contrastive_loss(even, fits)


def test_equal_texts_do_not_push_each_other_s_scan_away():
    logits = torch.zeros(2, 2, requires_grad=True)
    contrastive_loss(logits, torch.ones(2, 2).bool()).backward()
    assert logits.grad.abs().max() == 0
    contrastive_loss(logits, torch.eye(2).bool()).backward()
    assert logits.grad[0, 1] > 0


def test_a_text_fits_where_all_that_it_says_is_true():
    arterial, delayed = Fact("contrast_phase", "arterial"), Fact("contrast_phase", "delayed")
    present, absent = Fact("lesion", "present"), Fact("lesion", "absent")
    says = torch.stack([marks([arterial]), marks([arterial, present]), marks([delayed, absent])])
    true = torch.stack([marks([arterial, present]), marks([arterial, absent]), marks([delayed, present])])
    assert fitting(says, true).tolist() == [[True, True, False], [True, False, False], [False, False, False]]


# The network and the task


def test_the_scale_starts_as_clip_s_and_stays_within_its_bounds():
    network = task().network
    assert network.scale.item() == pytest.approx(1 / 0.07, rel=1e-4)
    for value, bound in ((-1e4, 1.0), (1e4, 100.0)):
        torch.nn.init.constant_(network.sharpness, value)
        assert network.scale.item() == pytest.approx(bound, rel=1e-4)


def test_logits_are_scaled_cosines_of_texts_and_scans():
    made = task([scan(0), scan(1), scan(2, size=(16, 16, 24))])
    made.network.eval()
    given = batch(made)
    with torch.no_grad():
        logits = made.network(given["crops"], given["count"], given["text"])
        texts = made.network.place_texts(given["text"])
    crops = [found[:n] for found, n in zip(given["crops"], given["count"], strict=True)]
    scans = torch.stack([made.network.place_scan(found) for found in crops])
    torch.testing.assert_close(scans.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(logits, made.network.scale.item() * texts @ scans.T, atol=1e-4, rtol=1e-4)


def test_half_precision_ends_at_the_encoder_s_features(monkeypatch):
    made = task()
    made.network.eval()
    monkeypatch.setattr(
        "voco_lite.downstream.vision_language.pooled_scan",
        lambda encoder, crops: crops.flatten()[: encoder.feature_dim],
    )
    expected = made.scores(made.split.validation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made.scores(made.split.validation) == expected


def test_what_all_scans_or_texts_have_in_common_is_taken_away_in_training():
    made = task()
    given = batch(made)
    made.network.train()
    plain = made.network(given["crops"], given["count"], given["text"])
    moved = made.network(given["crops"], given["count"], given["text"] + 5.0)
    torch.testing.assert_close(moved, plain, atol=2e-3, rtol=1e-3)


def test_an_example_s_report_is_true_of_its_scan():
    made = task()
    for seed in range(20):
        example = drawn(made, seed % 6, seed)
        assert torch.equal(example["true"], marks(facts_of(made.split.training[seed % 6])))
        assert example["says"].any() and not (example["says"] & ~example["true"]).any()


def test_the_same_draw_is_the_same_example_and_needs_no_text_encoder():
    made, again = task(), task()
    made.vectors = dict(made.vectors)
    for name, tensor in drawn(made, 1, 5).items():
        assert torch.equal(tensor, drawn(again, 1, 5)[name])
    assert not any(isinstance(value, Hashed) for value in vars(made).values())


def test_only_wordings_of_the_training_are_embedded():
    assert set(task().vectors) == {wording for fact in FACTS for wording in wordings(fact)}


def test_the_vector_of_a_text_is_the_mean_direction_of_its_sentences():
    encoder = Hashed()
    one, two = encoder.embed(["The patient is slim.", "There is no lesion."])
    expected = F.normalize(one + two, dim=-1)
    torch.testing.assert_close(embed_text(encoder, " The patient is slim.  There is no lesion. "), expected)
    with pytest.raises(ValueError, match="got none"):
        embed_text(encoder, "  ")


def test_probability_is_shared_among_what_could_be_said_about_the_topic():
    logits = noise(len(FACTS))
    for topic in ("contrast_phase", "lesion", "liver"):
        assert sum(probability(logits, f) for f in FACTS if f.topic == topic) == pytest.approx(1)
    sure = torch.zeros(len(FACTS))
    sure[FACTS.index(Fact("lesion", "absent"))] = math.log(3)
    assert probability(sure, Fact("lesion", "absent")) == pytest.approx(0.75)
    assert probability(sure, Fact("contrast_phase", "native")) == pytest.approx(0.25)


def test_an_untrained_scale_of_nothing_scores_the_chance_of_each_topic():
    made = task(topics=("contrast_phase", "lesion"))
    torch.nn.init.zeros_(made.network.text_projection[-1].weight)
    torch.nn.init.zeros_(made.network.text_projection[-1].bias)
    scores = score_subjects(made, made.split.validation)
    assert list(scores.values()) == pytest.approx([(1 / 4 + 1 / 2) / 2] * 2)


def test_training_brings_a_report_to_its_scan():
    made = task(topics=PHASE, shift=0.0)
    given = batch(made, (0, 1, 2, 3))
    optimizer = torch.optim.Adam(made.network.parameters(), lr=1e-2)
    first = made.losses(given)["contrastive"].item()
    for _ in range(15):
        optimizer.zero_grad()
        made.losses(given)["contrastive"].backward()
        optimizer.step()
    assert made.losses(given)["contrastive"].item() < first


def test_a_frozen_encoder_stays_under_trained_projections():
    made = task()
    before = weights(made.network.encoder)
    fit(made, tiny_finetuning(steps=2, batch_size=3, mode="linear-probe"))
    assert same_weights(weights(made.network.encoder), before)
    assert same_weights(weights(made.start.encoder), before)


# Examination and files


def test_equal_reports_count_once_and_fit_every_scan_of_which_they_are_true():
    subjects = [scan(0), scan(4), scan(0, [lesion("liver")])]
    texts, fits = reports_of(subjects, ("contrast_phase", "lesion"))
    assert len(texts) == 2 and fits.tolist() == [[True, True, False], [False, False, True]]
    texts, fits = reports_of(subjects, PHASE)
    assert len(texts) == 1 and fits.all()


def test_every_way_of_asking_is_examined_in_unseen_wordings():
    made = task(topics=(*PHASE, "lesion"))
    reader = Hashed()
    aligner = Aligner(made.network.train(), made.config, made.start.volume, reader)
    scores = examine(aligner, [scan(i) for i in range(10, 20)], ks=(1, 2), permutations=20)
    assert made.network.training
    assert [row.name for row in scores.rows] == [
        *(f"{way}, recall@{k}" for way in ("report to scan", "scan to report") for k in (1, 2)),
        "zero-shot contrast_phase",
        "zero-shot lesion",
    ]
    assert [row.queries for row in scores.rows[-2:]] == [10, 10]
    assert not set(reader.asked) & set(made.vectors)
    assert str(scores).count("\n") == len(scores.rows) and "by chance" in str(scores)


def test_an_examination_looks_at_each_scan_once(monkeypatch):
    made, looked = task(), []
    place = made.network.place_scan
    monkeypatch.setattr(made.network, "place_scan", lambda crops: looked.append(len(crops)) or place(crops))
    examine(Aligner(made.network, made.config, made.start.volume, Hashed()), [scan(i) for i in range(6)], (1,), 5)
    assert len(looked) == 6


def test_a_network_that_knows_everything_is_found_out():
    """Scans placed where the words of their phase lie."""
    made = task(topics=PHASE)
    aligner = Aligner(made.network.eval(), made.config, made.start.volume, Hashed())
    subjects = [scan(i) for i in range(8)]
    texts, fits = reports_of(subjects, PHASE)
    places = made.network.place_texts(torch.stack([embed_text(aligner.text_encoder, text) for text in texts])).detach()
    order = iter([places[fits[:, i]][0] for i in range(8)] * 2)
    made.network.place_scan = lambda crops: next(order)
    scores = examine(aligner, subjects, ks=(1,), permutations=50)
    assert [row.value for row in scores.rows] == [1.0, 1.0, 1.0]


def test_a_trained_network_comes_back_from_its_run_folder(tmp_path):
    made = VisionLanguageTask(
        untrained(PretrainConfig.preset("ci"), 0),
        Split([scan(0), scan(1)], [scan(2)]),
        VisionLanguageConfig(crop_size=(16, 16, 16), topics=PHASE),
        Hashed(),
    )
    fit(made, tiny_finetuning(steps=2, batch_size=2, run_folder=str(tmp_path)))
    loaded = load_aligner(tmp_path, Hashed())
    assert (loaded.config, loaded.volume) == (made.config, made.start.volume)
    made.network.eval()
    here = Aligner(made.network, made.config, made.start.volume, Hashed())
    said = ["Anything may be said. Even this."]
    assert (loaded.compare(said, [scan(3)]) == here.compare(said, [scan(3)])).all()
    other = Hashed()
    other.name = "another"
    with pytest.raises(ValueError, match=r"text encoder hashed \(16 numbers\), got another"):
        load_aligner(tmp_path, other)


def test_the_file_of_another_task_is_no_aligner(tmp_path):
    finetune(tiny_finetuning(steps=1, run_folder=str(tmp_path)))
    with pytest.raises(ValueError, match="another training"):
        load_aligner(tmp_path, Hashed())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"topics": ()}, "topics must be different ones of"),
        ({"topics": ("lesion", "lesion")}, "topics must be different ones of"),
        ({"topics": ("age",)}, "topics must be different ones of"),
        ({"crop_size": (0, 8, 8)}, "crop_size and width must be positive"),
        ({"width": 0}, "crop_size and width must be positive"),
        ({"shift": -0.1}, "shift at least 0"),
        ({"crop_size": (12, 8, 8)}, "multiples of 8"),
    ],
)
def test_wrong_choices_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        task(**changes)


def test_a_batch_of_one_is_refused():
    made = task()
    with pytest.raises(ValueError, match="at least 2 scans"):
        made.losses(batch(made, (0,)))


@pytest.mark.parametrize(
    ("texts", "volumes", "said"),
    [([], [scan(0)], "compared with texts, got none"), (["The body is thin."], [], "compared with volumes, got none")],
)
def test_nothing_to_compare_is_refused(texts, volumes, said):
    made = task()
    with pytest.raises(ValueError, match=said):
        Aligner(made.network.eval(), made.config, made.start.volume, Hashed()).compare(texts, volumes)
