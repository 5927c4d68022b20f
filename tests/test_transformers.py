"""What can be done with scores of tokens: all that can be done with those of convolutions, or a
refusal that says why not."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

import featent as fe
from featent.data.readable import wrappers_of
from featent.explorers.atlas_reading import Slots, read_shown
from featent.statistics.shares import bare_shares
from featent.studies.masking import masked_scores
from featent.studies.scale_groups import rescaling_groups
from featent.topology.filtrations import births

MLP, TOKENS = "blocks.block2.mlp.fc1+gelu", "blocks.block2"
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits():
    return fe.images("digits", per_class=3, classes=[0, 1, 2, 3], size=32)


@pytest.fixture(scope="module")
def vit():
    return fe.network("small_vit", in_channels=1)


@pytest.fixture(scope="module")
def result(vit, digits):
    null = ("shuffle", "random", "weights")
    return fe.assess(
        vit, digits, ["blocks.block[12].mlp.fc1", TOKENS], null=null, twins=1, preflight="off"
    )


def of(images):
    return torch.stack([x for x, _ in images])


def hooked(net, path, x):
    "(n, C, h, w) by a plain hook."
    seen, module = [], net.get_submodule(path)
    handle = module.register_forward_hook(lambda m, args, out: seen.append(out.detach()))
    with torch.no_grad():
        net(x)
    handle.remove()
    side = round(seen[0].shape[1] ** 0.5)
    return seen[0].mT.unflatten(2, (side, side)).numpy()


def test_the_small_transformer_takes_images_of_any_size_and_reads_six_blocks(vit):
    for height, width in ((28, 28), (16, 24)):
        table = fe.list_layers(vit, torch.rand(2, 1, height, width))
        mlps = table[table.kind == "mlp"]
        assert list(mlps.units) == [128] * 6
        assert set(zip(mlps.height, mlps.width)) == {(height // 4, width // 4)}
    assert list(table.kind).count("tokens") == list(table.kind).count("attention") == 6
    again = fe.network("small_vit", in_channels=1)
    assert again.featent["hash"] == vit.featent["hash"]


def test_twins_of_a_transformer_are_assessed_on_their_own_maps(vit, digits, result):
    x, twin = of(digits), fe.random_twin(vit, int(result.record["seed"]) + 1)
    pairs = {"real": vit, "random0": twin}
    for kind, net in pairs.items():
        for layer, path in ((MLP, "blocks.block2.mlp.gelu"), (TOKENS, TOKENS)):
            got = result.births[layer, "clique", kind]
            assert np.array_equal(births(hooked(net, path, x)), got, equal_nan=True)
    orders = result.births[MLP, "clique", "weights0"], result.births[MLP, "clique", "real"]
    assert orders[0].shape == orders[1].shape and not np.array_equal(*orders, equal_nan=True)


def test_nulls_intervals_and_class_share_of_tokens(vit, digits, result):
    table = result.table.set_index(["layer", "unit", "class"])
    assert table.loc[[MLP, TOKENS], ["H_null", "H_random", "H_weights"]].notna().any(axis=None)
    limits = result.intervals("layer", n_resamples=20)
    assert set(limits.layer) == set(result.layers.layer) and (limits.lo <= limits.hi).all()
    means = hooked(vit, "blocks.block2.mlp.gelu", of(digits)).mean((2, 3))
    want = bare_shares(means, digits.labels)
    got = bare_shares(result.summaries[MLP, "mean", "real"], digits.labels)
    np.testing.assert_allclose(got, want, atol=1e-6)
    tests = result.excess("layer", permutations=9)
    assert set(tests.layer) == set(result.layers.layer) and tests.p.between(0, 1).all()


def test_gelu_lets_no_factor_through_and_relu_does(vit, digits):
    with pytest.raises(ValueError, match=r"blocks\.block1\.mlp\.fc1 \(gelu in .*GELU"):
        fe.rescale(vit, digits)
    _, refused = rescaling_groups(vit, digits)
    assert refused[refused.layers == "blocks.block2.mlp.fc1"].why.iloc[0].startswith("gelu")
    relu = copy.deepcopy(vit)
    for block in relu.blocks:
        block.mlp.gelu = nn.ReLU()
    groups, _ = rescaling_groups(relu, digits)
    assert set(groups.reads[groups.writes.str.contains("mlp")]) == {
        f"blocks.block{i}.mlp.fc2" for i in range(1, 7)
    }
    factors = {f"blocks.block{i}.mlp.fc1": 2.0**i for i in range(1, 7)}
    scaled, x = fe.rescale(relu, digits, factors, partial=True), of(digits)
    with torch.no_grad():
        assert torch.equal(scaled(x), relu(x))
    path = "blocks.block2.mlp.gelu"
    maps, larger = hooked(relu, path, x), hooked(scaled, path, x)
    assert np.array_equal(4 * maps, larger)
    assert np.array_equal(births(maps), births(larger), equal_nan=True)


@pytest.mark.parametrize("layer", [MLP, TOKENS, "blocks.block2.attention"])
def test_units_of_tokens_are_removed_as_by_a_hook(vit, digits, layer):
    x, path = of(digits)[:2], layer.replace("fc1+", "")
    n = 128 if layer == MLP else 64
    removed = np.zeros((2, n), bool)
    removed[1, ::3] = True

    def without(m, args, out):
        return out * torch.from_numpy(~removed[1])

    handle = vit.get_submodule(path).register_forward_hook(without)
    with torch.no_grad():
        want = vit(x)
    handle.remove()
    for engine in ("replay", "rerun"):
        got = masked_scores(vit, x, layer, removed, engine=engine)
        torch.testing.assert_close(got[1], want, rtol=1e-4, atol=1e-5)


def test_an_order_of_neurons_is_walked(vit, digits):
    orders = {"up": np.arange(128), "down": np.arange(128)[::-1].copy()}
    table = fe.ablate(vit, digits, MLP, orders, steps=[0, 128])
    ends = table[table.step == 128].groupby("order").loss.mean()
    assert ends["up"] == pytest.approx(ends["down"])


def test_neurons_of_mlps_are_pruned_and_sums_are_refused(vit, digits, result):
    pytest.importorskip("torch_pruning")
    small = fe.prune(vit, digits, 0.5, "H", scores=result, layers="blocks.block[12].mlp.fc1")
    assert [b.mlp.fc1.out_features for b in small.blocks] == [64, 64] + [128] * 4
    kept, old = small.blocks.block2.mlp.fc1.weight, vit.blocks.block2.mlp.fc1.weight
    assert all((old == row).all(1).any() for row in kept)
    assert small.blocks.block2.attention.qkv.weight.shape == (192, 64)
    with torch.no_grad():
        assert small(of(digits)).shape == (12, 10)
    whole = fe.prune(vit, digits, 0.5, "weight_l1", layers="units")
    assert whole.stem.conv2.out_channels == whole.fc.in_features == 32
    for layers in ("tokens", "attention"):
        with pytest.raises(ValueError, match="without weights of their own are blocks.block1"):
            fe.prune(vit, digits, 0.5, "weight_l1", layers=layers)


def test_an_atlas_shows_the_maps_whose_births_were_scored(vit, digits, result):
    seen = read_shown(result, vit, digits, Slots(1))
    assert set(seen.maps) == set(result.layers.layer) and seen.notes == ()


class Hidden(nn.Module):
    "A patch embedding whose places no call tells."

    def __init__(self):
        super().__init__()
        self.embed, self.hidden = nn.Linear(64, 16), nn.Linear(16, 24)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        parts = x.numpy().reshape(len(x), 4, 8, 4, 8).transpose(0, 1, 3, 2, 4)
        tokens = self.embed(torch.from_numpy(parts.reshape(len(x), 16, 64).copy()))
        return self.head(torch.relu(self.hidden(tokens)).mean(1))


def test_a_grid_that_was_told_is_told_to_the_preflight_and_known_to_the_atlas(digits):
    torch.manual_seed(0)
    net = Hidden().eval()
    with pytest.raises(ValueError, match="no call tells their grid"):
        fe.assessment.preflight.check(net, digits, "mlp")
    looked = fe.assessment.preflight.check(net, digits, "mlp", grid=(4, 4))
    layers = looked.table.set_index("topic").finding["layers"]
    assert layers == "1 with 24 units, maps 4 x 4 to 4 x 4"
    with pytest.raises(ValueError, match="gives 1 . 4 x 4 = 17|no layer gives"):
        fe.assessment.preflight.check(net, digits, "mlp", grid=(4, 4), prefix=1)
    found = fe.assess(net, digits, "mlp", grid=(4, 4), preflight="off")
    assert read_shown(found, net, digits, Slots(1)).notes == ()


def test_a_transformer_is_watched_while_it_learns(digits):
    net = fe.network("small_vit", in_channels=1)
    watch = fe.monitor(net, digits, [MLP, TOKENS])
    history = fe.train(net, digits, epochs=2, lr=0.05, callback=watch)
    assert list(watch.table.groupby("epoch").layer.agg(list)) == [[MLP, TOKENS]] * 3
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0]


def test_a_compiled_network_is_said_to_be_taken_out_of_its_wrapper(vit, digits):
    compiled = torch.compile(vit)
    assert wrappers_of(compiled) == ["torch.compile"] and wrappers_of(vit) == []
    few = fe.assess(compiled, digits, MLP)
    lines = dict(few.record["preflight"])
    assert "torch.compile taken off" in lines["weights"]
    plain = fe.assess(vit, digits, MLP)
    assert "taken off" not in dict(plain.record["preflight"])["weights"]
    key = MLP, "clique", "real"
    assert np.array_equal(few.births[key], plain.births[key], equal_nan=True)


def test_sharded_networks_are_refused(digits):
    from torch import distributed

    if not distributed.is_available():
        pytest.skip("this PyTorch has no torch.distributed")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net = fe.network("small_vit", in_channels=1)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        fully_shard(net, mesh=init_device_mesh("cpu", (1,)))
        told = re.escape("the network is sharded (stem.conv1.weight, ...)")
        with pytest.raises(ValueError, match=told):
            fe.assess(net, digits, "mlp")
    finally:
        distributed.destroy_process_group()


def test_networks_on_several_devices_are_refused(digits):
    net = fe.network("small_vit", in_channels=1)

    class Elsewhere(nn.Parameter):
        device = torch.device("cuda:1")

    net.fc.bias.__class__ = Elsewhere
    with pytest.raises(ValueError, match=r"lie on several devices \(cpu, cuda:1\)"):
        fe.list_layers(net, digits)
