"Several shuffled maps for each map: scores, errors, stores, and stores of another way to shuffle."

import numpy as np
import pytest

import featent as fe
from featent.assessment import record
from featent.assessment.options import typed_options
from featent.statistics.scores import class_scores

LAYER = "features.conv5"


@pytest.fixture(scope="module")
def given():
    return fe.network("small_vgg", in_channels=1), fe.images("digits", per_class=3)


@pytest.fixture(scope="module")
def three(given):
    both = ("clique", "cubical")
    work = dict(null="shuffle", null_draws=3, filtration=both, batch_size=8, preflight="off")
    return fe.assess(*given, LAYER, **work)


def test_a_null_is_the_mean_of_its_draws_and_has_an_error(three):
    assert three.kinds == ["real", "shuffled", "shuffled1", "shuffled2"]
    (name,) = three.layers.layer
    for f, rows in three.table.groupby("filtration"):
        drawn = [
            class_scores(three.births[name, f, kind], three.labels, list(three.classes))
            for kind in three.kinds[1:]
        ]
        eps, H = (np.array([np.ravel(d[i]) for d in drawn]) for i in (0, 1))
        np.testing.assert_allclose(rows.eps_null, eps.mean(0), rtol=1e-12)
        np.testing.assert_allclose(rows.H_null, H.mean(0), rtol=1e-12)
        np.testing.assert_allclose(rows.H_null_se, H.std(0, ddof=1) / 3**0.5, atol=1e-12)
        assert (rows.H_null_se > 0).any()
    runs = three.profiles().query("series == 'shuffled maps'")
    assert sorted(set(runs.run)) == [0, 1, 2]
    assert three.record["null_draws"] == 3


def test_the_first_draw_is_the_only_one_of_a_single_draw(given, three):
    one = fe.assess(*given, LAYER, null="shuffle", batch_size=30, preflight="off", n_jobs=1)
    for key, own in one.births.items():
        np.testing.assert_array_equal(own, three.births[key])
    assert "H_null_se" not in one.table and "H_null" in one.table


def test_a_null_reads_the_maps_that_the_layer_makes(given, three):
    maps = fe.topology.nulls.shuffle_pixels
    seen = {}
    from featent.assessment import streaming

    def listen(given_maps, image, *rest, **more):
        seen[int(image[0])] = np.array(given_maps)
        return plain(given_maps, image, *rest, **more)

    plain, streaming.births_with_null = streaming.births_with_null, listen
    try:
        fe.assess(*given, LAYER, null="shuffle", batch_size=30, preflight="off", seed=5)
    finally:
        streaming.births_with_null = plain
    (name,) = three.layers.layer
    again = fe.assess(*given, LAYER, null="shuffle", batch_size=30, preflight="off", seed=5)
    expected = fe.births(maps(seen[0], np.arange(30), seed=5, layer=0))
    np.testing.assert_array_equal(again.births[name, "clique", "shuffled"], expected)


def test_stores_keep_draws_apart(given, tmp_path):
    work = dict(layers=LAYER, null="shuffle", preflight="off", store=tmp_path / "s")
    two = fe.assess(*given, **work, null_draws=2)
    assert "H_null_se" in fe.load(tmp_path / "s").table and len(two.births) == 3
    with pytest.raises(ValueError, match="null_draws: 2 -> 3"):
        fe.assess(*given, **work, null_draws=3)


def test_stores_of_another_shuffle_are_read_and_not_gone_on_with(given, tmp_path, monkeypatch):
    work = dict(layers=LAYER, preflight="off")
    monkeypatch.setattr(record, "NULL_VERSION", 1)
    old = fe.assess(*given, **work, null="shuffle", store=tmp_path / "old")
    fe.assess(*given, **work, store=tmp_path / "plain")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="drew shuffled maps in another way .*load reads it"):
        fe.assess(*given, **work, null="shuffle", store=tmp_path / "old")
    read = fe.load(tmp_path / "old")
    for key, births in old.births.items():
        np.testing.assert_array_equal(read.births[key], births)
    fe.assess(*given, **work, store=tmp_path / "plain")  # nothing is shuffled in it


def test_draws_are_typed_and_refused_where_nothing_is_drawn():
    assert typed_options(null=["shuffle"], null_draws=4) == {"null": "shuffle", "null_draws": 4}
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match="whole number, at least 1"):
            fe.assess(None, None, null="shuffle", null_draws=wrong)
    with pytest.raises(ValueError, match="pass null='shuffle'"):
        fe.assess(None, None, null="random", null_draws=2)
