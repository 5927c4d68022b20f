"""The compiled kernels against gudhi, against the released pipeline's integers, and against their own symmetries."""
import os, subprocess, sys
from pathlib import Path
import gudhi
import numpy as np
import pytest
import torch
from gudhi.sklearn import CubicalPersistence
from hypothesis import given, settings, strategies as st
from featent.kernels import clique_betti1, clique_births, cubical_betti, cubical_births, cubical_diagrams, levels

KINDS = ("noise", "smooth", "relu", "sparse", "few", "binary", "negative", "dense", "almost", "mixed")

def draw(kind, n, h, w, seed):
    "`n` random maps of a kind, float32"
    r = np.random.default_rng([seed, h, w, KINDS.index(kind)])
    a = r.standard_normal((n, h, w)).astype("f4")
    smooth = sum(np.roll(a, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    if kind == "noise": return a
    if kind == "smooth": return smooth
    if kind == "relu": return np.maximum(smooth, 0)
    if kind == "sparse": return np.maximum(a - r.uniform(.5, 2.5, (n, 1, 1)).astype("f4"), 0)
    if kind == "few": return r.integers(0, r.integers(2, 9), (n, h, w)).astype("f4")
    if kind == "binary": return (a > r.uniform(-1.5, 1.5, (n, 1, 1))).astype("f4")
    if kind == "negative": return -np.maximum(a, 0)*np.float32(1e-3) - np.float32(1e30)*(a < -1)
    if kind == "dense": return r.integers(0, 1000, (n, h, w)).astype("f4") - 500
    if kind == "almost": return np.round(smooth*2)/2*np.where(a > 0, np.float32(1), np.float32(-1))*(abs(a) > .5)
    a[r.random(a.shape) < .4] = r.integers(-1, 2)
    return a

# ---- oracles ----

def gudhi_clique(a):
    "Betti-1 after each level by gudhi's flag complex over Z/2"
    m = len(a)
    s, (i, j) = np.maximum(a, a.T), np.triu_indices(m, 1)
    values, rank = np.unique(-s[i, j], return_inverse=True)
    tree = gudhi.SimplexTree()
    tree.insert_batch(np.arange(m)[None], np.zeros(m))
    tree.insert_batch(np.stack([i, j]), rank + 1.)
    tree.expansion(2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    curve = np.zeros(len(values) + 1, int)
    for b, d in tree.persistence_intervals_in_dimension(1):
        curve[int(b):(None if np.isinf(d) else int(d))] += 1
    return curve[1:]

CUBICAL = CubicalPersistence([0, 1], n_jobs=1)

def level_map(a): return np.unique(-a, return_inverse=True)[1].reshape(a.shape) + 1

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
        if e: c[dim, e] -= 1
    return c.cumsum(1)[:, 1:n + 1]

def first(curve): return int((np.asarray(curve) > 0).argmax() + 1) if np.any(np.asarray(curve) > 0) else 0

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
    assert pairs.dtype == b0.dtype == b1.dtype == lengths.dtype == births.dtype == np.int32 and offsets.dtype == np.int64
    assert offsets[-1] == len(pairs) and (levels(maps) == [level_map(a) for a in maps]).all()
    for i, want in enumerate(gudhi_cubical(maps)):
        rows = pairs[offsets[i]:offsets[i + 1]]
        assert (rows[:, 0] == i).all() and [tuple(r) for r in rows[:, 1:].tolist()] == want, repr(maps[i])
        c0, c1 = curves_of(want, lengths[i])
        assert lengths[i] == len(np.unique(maps[i]))
        assert b0[i, :lengths[i]].tolist() == c0.tolist() and (b0[i, lengths[i]:] == -1).all()
        assert b1[i, :lengths[i]].tolist() == c1.tolist() and (b1[i, lengths[i]:] == -1).all()
        assert births[i] == first(c1), repr(maps[i])

# ---- thousands of random maps ----

@pytest.mark.parametrize("kind", KINDS)
def test_clique_random(kind):
    for m, n in ((4, 350), (5, 250), (6, 180), (7, 120), (9, 60), (11, 30), (14, 15)): check_clique(draw(kind, n, m, m, 1))

@pytest.mark.parametrize("kind", KINDS)
def test_cubical_random(kind):
    for h, w, n in ((3, 3, 150), (4, 4, 150), (5, 5, 200), (7, 7, 200), (3, 9, 100), (8, 5, 100), (14, 14, 80), (16, 15, 20), (2, 6, 30)):
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
        maps = (np.arange(2**(h*w))[:, None] >> np.arange(h*w) & 1).reshape(-1, h, w).astype("f4")
        check_cubical(maps[::1 if w == 3 else 5])
    maps = np.zeros((2**10, 5, 5), "f4")
    maps[:, *np.triu_indices(5, 1)] = np.arange(2**10)[:, None] >> np.arange(10) & 1
    check_clique(maps)
