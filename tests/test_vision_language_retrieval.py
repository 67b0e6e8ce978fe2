"""Recall at k: hand-made ranks, scikit-learn, the interval's coverage, and the chance of permutations."""

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import top_k_accuracy_score

from voco_lite.downstream.retrieval import ranks, recall_at


def one_each(similarity):
    return np.eye(len(similarity), dtype=bool)


def test_ranks_of_a_hand_made_case():
    similarity = np.array([[0.9, 0.1, 0.5], [0.8, 0.3, 0.2], [0.1, 0.2, 0.3]])
    assert ranks(similarity, one_each(similarity), "text").tolist() == [1, 2, 1]
    assert ranks(similarity, one_each(similarity), "scan").tolist() == [1, 1, 2]


def test_the_best_of_several_right_ones_counts_and_they_do_not_push_each_other_back():
    similarity = np.array([[0.9, 0.8, 0.7, 0.1]])
    assert ranks(similarity, np.array([[True, True, True, False]]), "text").tolist() == [1]
    assert ranks(similarity, np.array([[False, True, True, False]]), "text").tolist() == [2]
    assert ranks(similarity, np.array([[False, False, False, True]]), "text").tolist() == [4]


def test_equal_similarities_find_nothing():
    constant = np.full((4, 4), 0.5)
    assert recall_at(1, constant, one_each(constant), "text", "constant", permutations=10).hits == 0


@pytest.mark.parametrize("k", [1, 2, 5])
def test_recall_equals_scikit_learn_s_top_k_accuracy(k):
    chance = np.random.default_rng(0)
    truth = np.concatenate([np.arange(6), chance.integers(6, size=30)])
    similarity = chance.normal(size=(6, 36)) + np.eye(6)[:, truth]
    right = np.arange(6)[:, None] == truth
    expected = top_k_accuracy_score(truth, similarity.T, k=k)
    assert recall_at(k, similarity, right, "scan", "classes", permutations=1).value == pytest.approx(expected)
    turned = recall_at(k, similarity.T, right.T, "text", "classes", permutations=1).value
    assert turned == pytest.approx(expected)


def test_the_interval_is_that_of_clopper_and_pearson():
    similarity = np.eye(8) + np.roll(np.eye(8), 1, axis=1) * np.array([2.0] * 3 + [0.0] * 5)[:, None]
    found = recall_at(1, similarity, one_each(similarity), "text", "five of eight", permutations=1)
    assert (found.hits, found.queries) == (5, 8)
    assert found.low == pytest.approx(beta.ppf(0.025, 5, 4)) and found.high == pytest.approx(beta.ppf(0.975, 6, 3))


def test_chance_of_one_right_candidate_is_k_over_all():
    similarity = np.random.default_rng(0).normal(size=(10, 10))
    found = recall_at(3, similarity, one_each(similarity), "text", "noise", permutations=4000)
    assert found.chance == pytest.approx(0.3, abs=0.01)


def test_whoever_always_says_the_frequent_class_is_at_chance():
    truth = np.array([0] * 9 + [1] * 3)
    similarity = np.stack([np.ones(12), np.zeros(12)])
    found = recall_at(1, similarity, np.arange(2)[:, None] == truth, "scan", "constant", permutations=200)
    assert found.value == found.chance == pytest.approx(0.75) and found.p_value == 1


def test_a_perfect_match_has_the_smallest_p_value_that_permutations_allow():
    found = recall_at(1, np.eye(9), one_each(np.eye(9)), "text", "perfect", permutations=500)
    assert found.value == 1 and found.p_value == pytest.approx(1 / 501)


def test_p_values_of_noise_are_spread_evenly():
    """Under no effect, p ≤ a happens in at most a of the cases, up to the chance of 200 of them."""
    found = []
    for seed in range(200):
        similarity = np.random.default_rng(seed).normal(size=(12, 12))
        found.append(recall_at(3, similarity, one_each(similarity), "text", "noise", 99, seed).p_value)
    assert np.mean(np.array(found) <= 0.1) <= 0.17


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fits": np.eye(3, dtype=bool)}, "Compare every text"),
        ({"similarity": np.full((4, 4), np.nan)}, "finite numbers"),
        ({"fits": np.zeros((4, 4), bool)}, "Every text needs a right candidate, got none for number 0"),
        ({"k": 0}, "k must be 1 to 4"),
        ({"k": 5}, "k must be 1 to 4"),
        ({"permutations": 0}, "permutations at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, said):
    given = {"k": 1, "similarity": np.eye(4), "fits": np.eye(4, dtype=bool), "permutations": 10}
    with pytest.raises(ValueError, match=said):
        recall_at(**(given | changes), query="text", name="wrong")
