"Options of an assessment: stated once, shown wherever they are taken, refused before any work."

import inspect
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

import featent as fe
from featent.assessment.options import DEFAULTS, Options, asked, option_words, typed_options
from featent.assessment.plan import plan_for
from featent.assessment.record import identity_of, plan_record
from featent.statistics.scores import class_scores

NAMES = [f.name for f in fields(Options)]
OWN = {fe.assess: set(), fe.fill: {"store", "shard"}, fe.estimate: {"sample"}}


@pytest.mark.parametrize("function", OWN, ids=lambda f: f.__name__)
def test_every_option_is_a_parameter_with_its_default(function):
    parameters = inspect.signature(function).parameters
    assert [n for n in NAMES if n not in parameters] == []
    assert set(parameters) == {"network", "images", *NAMES, *OWN[function]}
    shown = {n: p.default for n, p in parameters.items() if n in NAMES and n not in OWN[function]}
    assert shown == {n: d for n, d in DEFAULTS.items() if n in shown}
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("function", OWN, ids=lambda f: f.__name__)
def test_help_has_words_for_every_parameter(function):
    lines = function.__doc__.splitlines()
    assert lines[0].endswith(".") and lines[1] == ""
    for name in inspect.signature(function).parameters:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name} : "))
        assert lines[at + 1].strip(), name
    assert all(option_words().values()) and list(option_words()) == NAMES


def test_functions_with_options_are_themselves():
    for function in OWN:
        assert pickle.loads(pickle.dumps(function)) is function


def test_a_mistyped_option_is_told_with_what_there_is():
    with pytest.raises(TypeError, match="assess has no parameter 'nul': did you mean null"):
        fe.assess(None, None, nul="shuffle")
    with pytest.raises(TypeError, match="estimate has no parameter 'sampel': did you mean sample"):
        fe.estimate(None, None, sampel=3)
    with pytest.raises(TypeError, match="fill has no parameter 'x': It takes store, network"):
        fe.fill("nowhere", None, None, x=1)
    with pytest.raises(TypeError, match="multiple values"):
        fe.fill("nowhere", None, None, store="elsewhere")


def test_options_are_fixed_and_checked_when_they_are_made():
    options = Options(null=("shuffle", "weights"), filtration="cubical")
    assert options.nulls == ("shuffle", "weights") and options.filtrations == ("cubical",)
    assert asked(fe.assess, null="shuffle") == replace(Options(), null="shuffle")
    with pytest.raises(FrozenInstanceError):
        options.seed = 1
    for wrong, message in [
        (dict(filtration=[]), "no filtration"),
        (dict(summaries="median"), "summaries='median': choose from 'l1'"),
        (dict(null=["shuffle", "noise"]), "null='noise': choose from"),
        (dict(preflight="maybe"), "preflight='maybe': choose from 'stop', 'warn', 'off'"),
        (dict(batch_size=0), "batch_size=0 must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            Options(**wrong)


def test_what_is_typed_becomes_options():
    typed = typed_options(layers="a,b", filtration="both", null=["random"], twins=None, seed=3)
    assert typed == dict(layers=["a", "b"], filtration=("clique", "cubical"), null="random", seed=3)
    assert typed_options(null=["random", "shuffle"])["null"] == ("random", "shuffle")
    assert typed_options(summaries=False) == {"summaries": None}
    assert typed_options(summaries=True) == {"summaries": DEFAULTS["summaries"]}
    with pytest.raises(TypeError, match="no option colour; there are layers, filtration"):
        typed_options(colour="red")


def test_how_the_work_is_done_is_no_part_of_its_identity():
    network, digits = fe.network("small_vgg", in_channels=1), fe.images("digits", per_class=1)
    plan = plan_for(network, digits, Options("features.conv1"))

    def identity(**changed):
        return identity_of(plan_record(plan._replace(options=replace(plan.options, **changed))))

    free = dict(n_jobs=1, budget=1, store="s", shard_size=8, workers=2, preflight="off")
    assert identity(**free, rule={"min_eps": 0.2}) == identity()
    for name, value in dict(seed=1, batch_size=8, pad=True, summaries=None, null="shuffle").items():
        assert identity(**{name: value}) != identity(), name


def test_columns_of_nulls_are_class_scores_of_their_births():
    network, digits = fe.network("small_vgg", in_channels=1), fe.images("digits", per_class=3)
    layer, kinds = "features.conv5", ("shuffle", "random")
    result = fe.assess(network, digits, layer, null=kinds, twins=2, preflight="off")
    (name,) = result.layers.layer
    scores = {
        kind: class_scores(result.births[name, "clique", kind], result.labels, list(result.classes))
        for kind in ("shuffled", "random0", "random1")
    }
    np.testing.assert_array_equal(result.table.eps_null, scores["shuffled"][0].ravel())
    np.testing.assert_array_equal(result.table.H_null, scores["shuffled"][1].ravel())
    means = np.mean([scores["random0"][1], scores["random1"][1]], axis=(0, 2))
    units = int(result.layers.units.iloc[0])
    np.testing.assert_allclose(result.table.H_random, np.repeat(means, units), rtol=1e-12)
