"Loops that are born, checked against gudhi: cycles, holes, diagrams and curves of single maps."

import gudhi
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from featent.topology.filtrations import betti_curves, births, levels
from featent.topology.loops import first_loop, map_topology


def random_maps(n, side, seed):
    "Noise, smooth and sparse maps, some with ties"
    rng = np.random.default_rng(seed)
    for i in range(n):
        a = rng.standard_normal((side, side))
        if i % 2:
            a = gaussian_filter(a, 0.8)
        if i % 3 == 0:
            a = np.maximum(a - 0.3 * a.std(), 0)
        if i % 5 == 0:
            a = np.round(a / a.std() * 3)
        yield a.astype(np.float32)


def loops_of(tree):
    "First Betti number of a complex of dimension 2"
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    return tree.betti_numbers()[1]


def flag_complex(a, at):
    "The flag complex of a map's graph at a level"
    m, upper = len(a), np.triu_indices(len(a), 1)
    level = np.unique(-np.maximum(a, a.T)[upper], return_inverse=True)[1] + 1
    tree = gudhi.SimplexTree()
    tree.insert_batch(np.arange(m)[None], np.zeros(m))
    tree.insert_batch(np.array(upper)[:, level <= at], np.zeros((level <= at).sum()))
    tree.expansion(2)
    return tree


@pytest.mark.parametrize("side, n", [(6, 300), (9, 300), (14, 60)])
def test_the_clique_loop_is_a_chordless_cycle_that_bounds_nothing(side, n):
    found = 0
    for a in random_maps(n, side, side):
        loop, birth = first_loop(a), int(births(a))
        assert (loop is None) == (birth == 0)
        if loop is None:
            continue
        found += 1
        assert loop.level == birth and len(set(loop.path)) == len(loop.path) == len(loop.cells) >= 4
        tree, k = flag_complex(a, birth), len(loop.path)
        ends = [(int(u), int(v)) for u, v in zip(loop.path, np.roll(loop.path, -1))]
        assert all(tree.find([*e]) for e in ends)
        assert not any(
            tree.find([int(loop.path[i]), int(loop.path[j])])
            for i in range(k)
            for j in range(i + 2, k)
            if (i, j) != (0, k - 1)
        )
        for (u, v), cell in zip(ends, loop.cells):
            assert sorted(cell.tolist()) == sorted((u, v)) and a[tuple(cell)] == max(
                a[u, v], a[v, u]
            )
        before = loops_of(tree)
        for u, v in ends:
            tree.insert([side, u, v])  # a disc glued along the cycle
        assert loops_of(tree) == before - 1
    assert found > n / 3


@pytest.mark.parametrize("side, n", [(5, 300), (9, 300), (20, 60)])
def test_the_cubical_loop_surrounds_a_hole_of_the_superlevel_set(side, n):
    found = 0
    for a in random_maps(n, side, side):
        loop, birth = first_loop(a, "cubical"), int(births(a, "cubical"))
        assert (loop is None) == (birth == 0)
        if loop is None:
            continue
        found += 1
        inside = levels(a) <= birth
        corners = loop.path.reshape(-1, 2)
        assert (np.unique(corners, axis=0, return_counts=True)[1] % 2 == 0).all()  # a cycle
        assert inside[tuple(loop.cells.T)].all()
        for (y, x), (v, u) in loop.path:  # every side belongs to a pixel of the set
            near = [(y - 1, x), (y, x)] if y == v else [(y, x - 1), (y, x)]
            assert any(0 <= i < side and 0 <= j < side and inside[i, j] for i, j in near)
        filled = inside | odd_inside(loop.path, side)
        assert (filled != inside).any() and holes(filled) == holes(
            inside
        ) - 1  # without the hole one class less
        assert loop.death > birth and holes(levels(a) <= loop.death - 1) >= 1
    assert found > n / 3


def odd_inside(sides, n):
    "Pixels from which a ray to the left crosses the cycle an odd number of times"
    crossed = np.zeros((n, n + 1), int)
    for (y, x), (v, u) in sides:
        if x == u:
            crossed[min(y, v), x] += 1
    return crossed.cumsum(1)[:, :n] % 2 == 1


def holes(inside):
    "First Betti number of a union of closed pixels, by gudhi"
    cells = gudhi.CubicalComplex(top_dimensional_cells=np.where(inside, 0.0, 1.0))
    cells.compute_persistence(homology_coeff_field=2)
    pairs = cells.persistence_intervals_in_dimension(1)
    return int((pairs[:, 0] == 0).sum()) if len(pairs) else 0


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_diagram_curve_and_birth_of_a_map_agree(filtration):
    for a in random_maps(60, 12, 7):
        t = map_topology(a, filtration)
        p = t.pairs[t.pairs.dimension == 1]
        level = np.arange(1, len(t.values) + 1)[:, None]
        alive = (
            (p.birth.to_numpy() <= level)
            & ((p.death.to_numpy() > level) | (p.death.to_numpy() == 0))
        ).sum(1)
        assert (alive == t.betti[1]).all() and (
            t.betti[1] == betti_curves(a, filtration)[: len(level)]
        ).all()
        assert (
            (t.loop.level if t.loop else 0)
            == int(births(a, filtration))
            == (0 if p.empty else p.birth.min())
        )
        assert (np.diff(t.values) < 0).all()
