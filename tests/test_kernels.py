"""The compiled kernels against gudhi, the released pipeline's integers, their own symmetries."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gudhi
import numpy as np
import pytest
import torch
from gudhi.sklearn import CubicalPersistence
from hypothesis import given, settings, strategies as st

import featent.topology.kernels
from featent.topology.kernels import (
    clique_betti1,
    clique_births,
    cubical_betti,
    cubical_births,
    cubical_diagrams,
    dense_ranks,
)

KINDS = (
    "noise",
    "smooth",
    "relu",
    "sparse",
    "few",
    "binary",
    "negative",
    "dense",
    "almost",
    "mixed",
)


def draw(kind, n, h, w, seed):
    "`n` random maps of a kind, float32"
    r = np.random.default_rng([seed, h, w, KINDS.index(kind)])
    a = r.standard_normal((n, h, w)).astype("f4")
    smooth = sum(np.roll(a, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    if kind == "noise":
        return a
    if kind == "smooth":
        return smooth
    if kind == "relu":
        return np.maximum(smooth, 0)
    if kind == "sparse":
        return np.maximum(a - r.uniform(0.5, 2.5, (n, 1, 1)).astype("f4"), 0)
    if kind == "few":
        return r.integers(0, r.integers(2, 9), (n, h, w)).astype("f4")
    if kind == "binary":
        return (a > r.uniform(-1.5, 1.5, (n, 1, 1))).astype("f4")
    if kind == "negative":
        return -np.maximum(a, 0) * np.float32(1e-3) - np.float32(1e30) * (a < -1)
    if kind == "dense":
        return r.integers(0, 1000, (n, h, w)).astype("f4") - 500
    if kind == "almost":
        return (
            np.round(smooth * 2)
            / 2
            * np.where(a > 0, np.float32(1), np.float32(-1))
            * (abs(a) > 0.5)
        )
    a[r.random(a.shape) < 0.4] = r.integers(-1, 2)
    return a


# ---- oracles ----


def gudhi_clique(a):
    "Betti-1 after each level by gudhi's flag complex over Z/2"
    m = len(a)
    s, (i, j) = np.maximum(a, a.T), np.triu_indices(m, 1)
    values, rank = np.unique(-s[i, j], return_inverse=True)
    tree = gudhi.SimplexTree()
    tree.insert_batch(np.arange(m)[None], np.zeros(m))
    tree.insert_batch(np.stack([i, j]), rank + 1.0)
    tree.expansion(2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    curve = np.zeros(len(values) + 1, int)
    for b, d in tree.persistence_intervals_in_dimension(1):
        curve[int(b) : (None if np.isinf(d) else int(d))] += 1
    return curve[1:]


CUBICAL = CubicalPersistence([0, 1], n_jobs=1)


def level_map(a):
    return np.unique(-a, return_inverse=True)[1].reshape(a.shape) + 1


def diagram_rows(diagram, dim):
    "gudhi's intervals as (dim, birth, death) with death 0 for never"
    d = np.where(np.isinf(diagram), 0, diagram).astype(int).reshape(-1, 2)
    return [(dim, b, e) for b, e in d]


def gudhi_cubical(maps):
    "Sorted (dim, birth, death) of every map by gudhi's two-dimensional algorithm"
    out = CUBICAL.fit_transform([level_map(a).astype(float) for a in maps])
    return [sorted(diagram_rows(d[0], 0) + diagram_rows(d[1], 1)) for d in out]


def curves_of(rows, n):
    c = np.zeros((2, n + 2), int)
    for dim, b, e in rows:
        c[dim, b] += 1
        if e:
            c[dim, e] -= 1
    return c.cumsum(1)[:, 1 : n + 1]


def first(curve):
    return int((np.asarray(curve) > 0).argmax() + 1) if np.any(np.asarray(curve) > 0) else 0


def check_clique(maps):
    curves, lengths = clique_betti1(maps)
    births = clique_births(maps)
    assert curves.dtype == lengths.dtype == births.dtype == np.int32
    for a, c, k, b in zip(maps, curves, lengths, births):
        want = gudhi_clique(a)
        assert c[:k].tolist() == want.tolist() and (c[k:] == -1).all(), repr(a)
        assert b == first(want), repr(a)
    for top in (1, 2, 5, 51):
        assert (clique_births(maps, max_level=top) == np.where(births <= top, births, 0)).all()


def check_cubical(maps):
    pairs, offsets = cubical_diagrams(maps)
    b0, b1, lengths = cubical_betti(maps)
    births = cubical_births(maps)
    assert (
        pairs.dtype == b0.dtype == b1.dtype == lengths.dtype == births.dtype == np.int32
        and offsets.dtype == np.int64
    )
    assert offsets[-1] == len(pairs) and (dense_ranks(maps) == [level_map(a) for a in maps]).all()
    for i, want in enumerate(gudhi_cubical(maps)):
        rows = pairs[offsets[i] : offsets[i + 1]]
        assert (rows[:, 0] == i).all() and [tuple(r) for r in rows[:, 1:].tolist()] == want, repr(
            maps[i]
        )
        c0, c1 = curves_of(want, lengths[i])
        assert lengths[i] == len(np.unique(maps[i]))
        assert b0[i, : lengths[i]].tolist() == c0.tolist() and (b0[i, lengths[i] :] == -1).all()
        assert b1[i, : lengths[i]].tolist() == c1.tolist() and (b1[i, lengths[i] :] == -1).all()
        assert births[i] == first(c1), repr(maps[i])


# ---- thousands of random maps ----


@pytest.mark.parametrize("kind", KINDS)
def test_clique_random(kind):
    for m, n in ((4, 350), (5, 350), (6, 300), (7, 200), (9, 60), (11, 30), (14, 15)):
        check_clique(draw(kind, n, m, m, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_cubical_random(kind):
    for h, w, n in (
        (3, 3, 150),
        (4, 4, 150),
        (5, 5, 200),
        (7, 7, 200),
        (3, 9, 100),
        (8, 5, 100),
        (14, 14, 80),
        (16, 15, 20),
        (2, 6, 30),
    ):
        check_cubical(draw(kind, n, h, w, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_larger_maps(kind):
    check_clique(draw(kind, 1, 28, 28, 3))
    check_cubical(draw(kind, 4, 28, 28, 3))
    check_cubical(draw(kind, 2, 56, 56, 3))
    check_cubical(draw(kind, 1, 70, 33, 3))


def test_every_small_binary_map():
    "All 3 x 3 and 3 x 4 binary maps, and all graphs on 5 vertices"
    for h, w in ((3, 3), (3, 4)):
        maps = (
            (np.arange(2 ** (h * w))[:, None] >> np.arange(h * w) & 1)
            .reshape(-1, h, w)
            .astype("f4")
        )
        check_cubical(maps[:: 1 if w == 3 else 5])
    maps = np.zeros((2**10, 5, 5), "f4")
    rows, columns = np.triu_indices(5, 1)
    maps[:, rows, columns] = np.arange(2**10)[:, None] >> np.arange(10) & 1
    check_clique(maps)


# ---- a batch with more live classes than bits in a word ----


def test_many_classes_in_one_batch():
    "K(a, b) has (a - 1)(b - 1) loops, all of them born in one level"
    for a, b in ((9, 9), (10, 20), (40, 45)):
        m = a + b
        maps = np.zeros((3, m, m), "f4")
        maps[0::2, :a, a:] = 1
        curves, lengths = clique_betti1(maps)
        assert curves[:, :2].tolist() == [
            [(a - 1) * (b - 1), 0],
            [0, -1],
            [(a - 1) * (b - 1), 0],
        ] and lengths.tolist() == [2, 1, 2]
        assert clique_births(maps).tolist() == [1, 0, 1]


def test_many_classes_die_in_their_batch():
    "The same with one more vertex joined to all others in the same level: a cone has no loop"
    for a, b in ((9, 9), (12, 15), (30, 34)):
        m = a + b + 1
        maps = np.zeros((1, m, m), "f4")
        maps[0, :a, a:-1] = 1
        maps[0, -1, :-1] = 1
        assert clique_betti1(maps)[0].tolist() == [[0, 0]] and clique_births(maps).tolist() == [0]
        p = np.random.default_rng(a).permutation(m)
        assert clique_births(maps[:, p][:, :, p]).tolist() == [0]


@pytest.mark.parametrize("seed", range(4))
def test_dense_batches(seed):
    "Few levels on 20 to 26 vertices: many loops come and go in one batch"
    for m in (20, 26):
        r = np.random.default_rng([seed, m])
        maps = (r.random((3, m, m)) < r.uniform(0.03, 0.4, (3, 1, 1))).astype("f4") + (
            r.random((3, m, m)) < 0.05
        )
        check_clique(maps)


# ---- edges of the domain ----


def test_one_value_one_row_one_column():
    for h, w in ((1, 1), (1, 7), (7, 1), (2, 2), (3, 3), (6, 6), (2, 9), (1, 40)):
        flat, r = (
            np.full((2, h, w), -2.5),
            np.random.default_rng(h * w).integers(-2, 3, (40, h, w)).astype(float),
        )
        for maps in (flat, r, r.astype("f4")):
            check_cubical(maps)
            if h == w and h > 1:
                check_clique(maps)
    assert (
        clique_births(np.ones((3, 1, 1))).tolist()
        == clique_births(np.ones((3, 3, 3))).tolist()
        == [0, 0, 0]
    )
    assert [x.shape for x in clique_betti1(np.ones((3, 1, 1)))] == [(3, 0), (3,)]


def test_no_maps():
    for shape in ((0, 5, 5), (0, 1, 1)):
        e = np.zeros(shape, "f4")
        assert clique_births(e).shape == cubical_births(e).shape == (0,)
        assert cubical_diagrams(e)[0].shape == (0, 4) and cubical_diagrams(e)[1].tolist() == [0]
        assert (
            clique_betti1(e)[0].shape[0] == cubical_betti(e)[0].shape[0] == 0
            and dense_ranks(e).shape == shape
        )


def test_not_a_square():
    for f in clique_births, clique_betti1:
        with pytest.raises(ValueError, match="square"):
            f(np.zeros((2, 4, 5)))
    with pytest.raises(TypeError, match="float32 or float64"):
        cubical_births(np.zeros((2, 4, 5), "f2"))
    with pytest.raises(ValueError, match="shape"):
        dense_ranks(np.zeros((4, 5)))


def test_negative_zero_and_tiny():
    a = np.zeros((1, 6, 6), "f4")
    a[0, ::2] = -0.0
    assert (dense_ranks(a) == 1).all() and clique_births(a)[0] == cubical_births(a)[0] == 0
    for t in ("f4", "f8"):
        a = draw("noise", 20, 7, 7, 5).astype(t)
        a[a < 0] *= np.finfo(t).smallest_subnormal
        a[0, 0, :2] = np.finfo(t).max, -np.finfo(t).max
        check_cubical(a)
        check_clique(a)


# ---- types, threads ----


def outputs(maps, n_jobs=1):
    out = [
        *cubical_diagrams(maps, n_jobs=n_jobs),
        *cubical_betti(maps, n_jobs=n_jobs),
        cubical_births(maps, n_jobs=n_jobs),
    ]
    if maps.shape[1] != maps.shape[2]:
        return out
    return out + [
        *clique_betti1(maps, n_jobs=n_jobs),
        clique_births(maps, n_jobs=n_jobs),
        clique_births(maps, 3, n_jobs=n_jobs),
    ]


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_types_and_threads(kind):
    maps = draw(kind, 700, 7, 7, 6)
    want = outputs(maps)
    assert (
        same(outputs(maps, 2), want)
        and same(outputs(maps, 5), want)
        and same(outputs(maps[:3], 2), outputs(maps[:3]))
    )
    assert same(outputs(maps.astype("f8")), want)
    ranks = -dense_ranks(maps).astype("f8")
    assert same(outputs(ranks), want)
    assert same(outputs(ranks + np.where(ranks < -20, -1e-12, 1e-12)), want)  # not exact in 32 bits
    assert same(outputs(np.asfortranarray(maps)), want) and same(outputs(maps[::-1][::-1]), want)
    for t in (torch.float16, torch.bfloat16):
        low = torch.from_numpy(np.maximum(maps, -6e4)).to(t)
        assert same(outputs(low.to(torch.float32).numpy()), outputs(low.to(torch.float64).numpy()))


def test_threads_follow_scikit_learn():
    n = featent.topology.kernels.n_threads
    assert n(None) == 1 and n(3) == 3 and n(-1) >= 1 and n(-999) == 1
    maps = np.random.default_rng(0).random((300, 9, 9), np.float32)
    for f in (clique_births, cubical_births):
        np.testing.assert_array_equal(f(maps, n_jobs=-1), f(maps))
    with pytest.raises(ValueError, match="n_jobs=0 has no meaning"):
        cubical_births(maps, n_jobs=0)


def test_float64_near_ties():
    maps = (
        np.random.default_rng(7).integers(0, 6, (60, 8, 8)) * 1e-17
        + 1 / 3
        + np.random.default_rng(8).integers(0, 3, (60, 8, 8)) * 1e-16
    )
    check_cubical(maps)
    check_clique(maps)


def test_input_is_not_changed():
    maps = draw("relu", 20, 9, 9, 9)
    maps.flags.writeable = False
    outputs(maps)


# ---- properties ----

small = st.integers(3, 9).flatmap(
    lambda h: st.tuples(
        st.just(h), st.integers(3, 9), st.integers(2, 30), st.integers(0, 2**32 - 1)
    )
)


def pick(shape):
    h, w, top, seed = shape
    return np.random.default_rng(seed).integers(-1, top, (6, h, w)).astype(float)


@given(small)
@settings(max_examples=150, deadline=None)
def test_increasing_transforms(shape):
    maps, r = pick(shape), np.random.default_rng(shape[3] + 1)
    steps = np.sort(r.standard_normal(200) * 10.0 ** r.integers(-20, 20))
    want = outputs(maps)
    assert same(outputs(maps * 8 - 3), want) and same(outputs(np.exp(maps / 8)), want)
    assert len(np.unique(steps)) == 200 and same(outputs(steps[maps.astype(int) + 1]), want)


@given(small)
@settings(max_examples=150, deadline=None)
def test_cubical_symmetries(shape):
    maps = pick(shape)
    want = outputs(maps)[:6]
    for turned in (
        maps[:, ::-1],
        maps[:, :, ::-1],
        maps.transpose(0, 2, 1),
        np.rot90(maps, 1, (1, 2)),
        np.rot90(maps, 2, (1, 2)),
    ):
        assert same(outputs(turned)[:6], want)


@given(small)
@settings(max_examples=150, deadline=None)
def test_clique_symmetries(shape):
    maps = pick((shape[0], shape[0], *shape[2:]))
    m, r = shape[0], np.random.default_rng(shape[3] + 2)
    p, s = r.permutation(m), int(r.integers(1, m))
    want = outputs(maps)[6:]
    other = maps.copy()
    other[:, np.arange(m), np.arange(m)] = (
        r.standard_normal((6, m)) * 100
    )  # the diagonal is ignored
    same_edges = np.maximum(maps, maps.transpose(0, 2, 1))
    for turned in (
        maps.transpose(0, 2, 1),
        np.roll(maps, (s, s), (1, 2)),
        maps[:, p][:, :, p],
        other,
        same_edges,
    ):
        assert same(outputs(turned)[6:], want)


@given(small)
@settings(max_examples=100, deadline=None)
def test_padding_with_the_least_value(shape):
    "A frame of the least value moves holes off the border and changes no birth of such a map."
    maps = pick(shape)
    maps[:, 0, 0] = -1
    framed = np.pad(maps, ((0, 0), (1, 1), (1, 1)), constant_values=-1.0)
    assert np.array_equal(cubical_births(framed), cubical_births(maps))


# ---- the released pipeline's integers ----


@pytest.fixture(scope="module")
def golden():
    at = (
        Path(os.environ.get("FEATENT_SHARED", Path(__file__).parents[2] / "shared"))
        / "golden"
        / "clique_births.npz"
    )
    if not at.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "golden cases not found: set FEATENT_SHARED to the folder that has "
            "golden/clique_births.npz"
        )
    return np.load(at, allow_pickle=False)


@pytest.mark.parametrize("suffix", ["", "28", "56"])
def test_golden(golden, suffix):
    _ = "_" + suffix if suffix else ""
    maps, curves = golden["maps" + suffix], golden["betti1" + _]
    sizes = golden["n"] if not suffix else np.full(len(maps), int(suffix))
    for i, n in enumerate(sizes):
        a, top = np.ascontiguousarray(maps[i : i + 1, :n, :n]), -(-8 * n * (n - 1) // 20)
        got, lengths = clique_betti1(a)
        want = curves[i][curves[i] >= 0]
        assert lengths[0] == golden["num_distinct_offdiag" + suffix][i]
        top_levels = min(top, lengths[0])
        assert (
            got[0, :top_levels].tolist() == want[:top_levels].tolist()
            and not want[top_levels:].any()
        )
        b = clique_births(a, max_level=top)[0]
        assert max(b - 1, 0) == golden["birth_point_nothreshold" + suffix][i]
        assert (b - 1 if 0 < b <= 51 else 0) == golden["birth_point" + suffix][i]
        assert clique_births(a, max_level=51)[0] == (b if b <= 51 else 0)
        if not suffix:
            assert b - 1 == golden["first_nonzero_index"][i]


def test_golden_examples(golden):
    for key in [k for k in golden if k.endswith("_M")]:
        a, want, bp = golden[key][None], golden[key[:-1] + "b1"], golden[key[:-1] + "bp"]
        want = want[want >= 0]
        n = a.shape[1]
        top = -(-8 * n * (n - 1) // 20)
        got, lengths = clique_betti1(a)
        assert got[0, : min(top, lengths[0])].tolist() == want[:top].tolist()[: lengths[0]], key
        b = clique_births(a, max_level=top)[0]
        assert (b - 1 if 0 < b <= 51 else 0) == bp, key


# ---- the cache ----


def test_no_folder_for_the_cache():
    "Where nothing can be written the kernels are compiled without a cache, and say so"
    script = """
import importlib.util as u, sys, numba.core.caching as c
for k in c.CacheImpl._locator_classes: k.from_function = classmethod(lambda cls, f, p: None)
spec = u.spec_from_file_location("kernels", sys.argv[1])
k = u.module_from_spec(spec)
spec.loader.exec_module(k)
import numpy as np
assert k.dense_ranks(np.array([[[3., 1.]]])).tolist() == [[[1, 2]]]
"""
    out = subprocess.run(
        [sys.executable, "-c", script, featent.topology.kernels.__file__],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert out.returncode == 0, out.stderr
    assert out.stderr.count("compiling kernels") == 1


def test_cache_elsewhere(tmp_path):
    "With NUMBA_CACHE_DIR the first process compiles and says so, the second is silent"
    script = (
        "import numpy as np, featent.topology.kernels as k; k.dense_ranks(np.array([[[3., 1.]]]))"
    )
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env=env,
            cwd=Path(__file__).parents[1],
        )
        for _ in range(2)
    ]
    assert [r.returncode for r in runs] == [0, 0], runs[0].stderr
    assert ["compiling kernels" in r.stderr for r in runs] == [True, False]


ALONE = """
import importlib.util as u, sys, warnings
warnings.simplefilter("always")
spec = u.spec_from_file_location("kernels", sys.argv[1])
k = sys.modules["kernels"] = u.module_from_spec(spec)
spec.loader.exec_module(k)
import numpy as np
print(k.dense_ranks(np.array([[[3., 1.]]])).tolist())
"""


def alone(code=ALONE, **env):
    "The levels that a process of its own finds, with what it says about its cache."
    out = subprocess.run(
        [sys.executable, "-c", code, featent.topology.kernels.__file__],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
        cwd=Path(__file__).parents[1],
    )
    assert out.returncode == 0 and out.stdout == "[[[1, 2]]]\n", out.stderr
    return out.stderr


def emptied(content):
    return b""


def halved(content):
    return content[: len(content) // 2]


def one_bit(content):
    return (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 4])
        + content[len(content) // 2 + 1 :]
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    "A cache as a process leaves it."
    folder = tmp_path_factory.mktemp("kept")
    alone(NUMBA_CACHE_DIR=str(folder))
    return folder


@pytest.mark.parametrize(
    "pattern,damage",
    [("*.nbi", emptied), ("*.nbi", one_bit), ("*.nbc", halved), ("*.nbc", one_bit)],
)
def test_a_damaged_cache_is_told_and_made_anew(kept, tmp_path, pattern, damage):
    "Emptied, cut or changed in one bit: same result, one warning, and the next process is silent."
    cache = shutil.copytree(kept, tmp_path / "cache")
    damaged = next(cache.rglob(f"kernels._keys{pattern}"))
    damaged.write_bytes(damage(damaged.read_bytes()))
    said = alone(NUMBA_CACHE_DIR=str(cache))
    assert (
        said.count("RuntimeWarning") == 1
        and f"the compiled kernels in {cache}" in said
        and "delete the files *.nbi and *.nbc there" in said
    )
    assert alone(NUMBA_CACHE_DIR=str(cache)) == ""


def test_a_full_disk_costs_the_cache_alone(tmp_path):
    "No file can grow beyond a kilobyte, as on a disk without space."
    full = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    )
    said = alone(full + ALONE, NUMBA_CACHE_DIR=str(tmp_path))
    assert (
        said.count("RuntimeWarning") == 1
        and "free some disk space" in said
        and str(tmp_path) in said
    )


def test_a_folder_that_cannot_be_made(tmp_path):
    "Where the folder of the cache is a file, each process compiles, and says where to change it."
    (tmp_path / "file").touch()
    nowhere = (
        "import numba.core.caching as c; "
        "c.CacheImpl._locator_classes = [c.CacheImpl._locator_classes[0]]"
    )
    said = alone(nowhere + ALONE, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert (
        said.count("RuntimeWarning") == 1
        and "NUMBA_CACHE_DIR name a folder that can be written" in said
    )


def test_a_process_without_compiler_has_these_kernels():
    "NUMBA_DISABLE_JIT=1 leaves other functions alone; births are as in a process that compiles."
    code = """
import numba, os, types, numpy as np
from featent.topology import kernels as k
off = os.environ["NUMBA_DISABLE_JIT"] == "1"
assert isinstance(numba.njit(lambda x: x), types.FunctionType) == off
maps = np.random.default_rng(0).integers(0, 9, (4, 7, 7)).astype("f8")
found = [k.cubical_births(maps), k.clique_births(maps), *k.cubical_diagrams(maps)]
found += [*k.clique_betti1(maps), k.dense_ranks(maps*.1)]
print([a.tolist() for a in found])"""
    both = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "NUMBA_DISABLE_JIT": off},
            cwd=Path(__file__).parents[1],
        )
        for off in "01"
    ]
    assert [r.returncode for r in both] == [0, 0], both[1].stderr
    assert both[0].stdout == both[1].stdout and len(both[0].stdout) > 500


# ---- a processor that takes tiny numbers for zero ----


@pytest.mark.skipif(
    not torch.set_flush_denormal(True) or torch.set_flush_denormal(False) is None,
    reason="no such mode on this processor",
)
@pytest.mark.parametrize(
    "tiny,dtype", [(1e-45, "f4"), (5e-324, "f8"), (1e-40, "f8"), (1e-310, "f8")]
)
def test_flushing_subnormal_numbers_changes_no_result(tiny, dtype):
    "In every engine, in threads, and where a map is padded with its minimum."
    from featent.topology import filtrations as f

    whole = np.random.default_rng(0).integers(-4, 5, (300, 7, 7))
    maps = (whole * np.array(tiny, dtype)).astype(dtype)
    want, wide = outputs(whole.astype("f4")), f.births(whole[:, :, :6].astype("f4"), pad=True)
    torch.set_flush_denormal(True)
    try:
        assert same(outputs(maps), want) and same(outputs(maps, 2), want)
        for engine in ("torch", "gudhi"):
            np.testing.assert_array_equal(
                f.births(torch.from_numpy(maps[:40]), engine=engine),
                f.births(whole[:40].astype("f4")),
            )
        np.testing.assert_array_equal(f.births(maps[:, :, :6], pad=True), wide)
        np.testing.assert_array_equal(f.levels(f.ordinal(torch.from_numpy(maps))), f.levels(whole))
    finally:
        torch.set_flush_denormal(False)
