"""Networks whose units are channels of tokens: every map is the one that a plain hook sees.

The reference knows the grid by hand, as a `reshape_transform` would: where the prefix ends, or how
windows were cut. `pytest -s` prints a table of families, layers, units and grids.
"""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models as tv

from featent.data.layers import list_layers, select_layers
from featent.data.maps import read_maps
from featent.topology.filtrations import births

torch.set_num_threads(1)
SEEN = []  # rows of the table
ACTS = {"gelu": F.gelu, "silu": F.silu, "relu": F.relu, "hardswish": F.hardswish}


def pictures(n, size, seed=1, channels=3):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def tokens(prefix=0, side=4):
    "(n, prefix + side * side, C) by hand."
    return lambda t: t[:, prefix:].mT.unflatten(2, (side, side))


def last(t):
    return t.permute(0, 3, 1, 2)


def squares(side, size, grid=False, shift=0):
    "Windows, (n * windows, size * size, C) or (n, windows, size * size, C), by hand."

    def back(t):
        k, m = side // size, size
        places = t.reshape(-1, k, k, m, m, t.shape[-1])
        if grid:  # a window takes every k-th place
            places = t.reshape(-1, k, k, m, m, t.shape[-1]).permute(0, 3, 1, 4, 2, 5)
            return places.reshape(-1, side, side, t.shape[-1]).permute(0, 3, 1, 2)
        flat = places.permute(0, 1, 3, 2, 4, 5).reshape(-1, side, side, t.shape[-1])
        return flat.roll((shift, shift), (1, 2)).permute(0, 3, 1, 2)

    return back


@pytest.fixture(autouse=True)
def plain_attention():
    "PyTorch's fused pass calls no modules, which hooks could not see."
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


def seen_by_hooks(net, x):
    "{path: outputs} of all modules."
    seen, handles = {}, []

    def hook(name):
        def keep(m, args, out):
            out = next(iter(out.values())) if isinstance(out, dict) else out
            out = out[0] if isinstance(out, tuple) else out
            seen.setdefault(name, []).append(out.detach().clone())

        return keep

    for name, m in net.named_modules():
        handles.append(m.register_forward_hook(hook(name)))
    try:
        with torch.no_grad():
            net(x)
    finally:
        for h in handles:
            h.remove()
    return seen


def activated(net, seen, row):
    "What the module of a layer gave, and what its activation made of that."
    known = [n for n in seen if row.module == n or row.module.rpartition(".")[0] == n]
    made = [t for n in sorted(known, key=len)[-1:] for t in seen[n]]
    name = row.layer.rpartition("+")[2]
    values = [ACTS[name](t) for t in made] if name in ACTS else made
    around = row.module.split(".mlp")[0]
    acts = [n for n in seen if n.startswith(around) and n.rpartition(".")[2] in ("act", "drop")]
    return values + [t for n in acts for t in seen[n]]


def agree(net, x, table, back):
    "Each layer's maps against those of hooks."
    got, seen = read_maps(net, x, table), seen_by_hooks(net, x)
    for row in table.itertuples():
        maps = got[row.layer]
        assert maps.shape == (len(x), row.units, row.height, row.width), row.layer
        turned = [f(t) for t in activated(net, seen, row) for f in back if fits(f, t, maps)]
        assert any(t.shape == maps.shape and torch.equal(t, maps) for t in turned), row.layer
    return got


def fits(f, t, maps):
    "Whether a tensor can be turned by hand to these maps."
    try:
        return f(t).shape == maps.shape
    except (RuntimeError, IndexError):
        return False


def vit(**k):
    return tv.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3, **k)


def swin(**k):
    return tv.SwinTransformer([2, 2], 8, [2, 1], [2, 2], [4, 4], num_classes=3, **k)


def swin_v2():
    parts = tv.swin_transformer
    return swin(block=parts.SwinTransformerBlockV2, downsample_layer=parts.PatchMergingV2)


def convnext():
    rows = [tv.convnext.CNBlockConfig(8, 16, 1), tv.convnext.CNBlockConfig(16, None, 1)]
    return tv.ConvNeXt(rows, num_classes=3)


class Encoder(nn.Module):
    "PyTorch's own layers, tokens in the first axis or in the second."

    def __init__(self, batch_first, norm_first):
        super().__init__()
        self.first = batch_first
        self.patch = nn.Conv2d(3, 16, 8, 8)
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, norm_first=norm_first, batch_first=batch_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        t = self.patch(x).flatten(2)
        t = self.encoder(t.mT if self.first else t.permute(2, 0, 1))
        return self.head(t.mean(1 if self.first else 0))


def tokens_first(t):
    return t.permute(1, 2, 0).unflatten(2, (4, 4))


TV = {
    "torchvision vit": (vit, 32, [tokens(1)]),
    "torchvision swin": (swin, 32, [last]),
    "torchvision swin v2": (swin_v2, 32, [last]),
    "torchvision convnext": (convnext, 32, [last]),
    "torchvision maxvit": (
        lambda: tv.MaxVit((64, 64), 8, 2, [8], [1], 8, 0.0, num_classes=3),
        64,
        [squares(16, 2), squares(16, 2, grid=True)],
    ),
    "torch encoder": (lambda: Encoder(True, False), 32, [tokens()]),
    "torch encoder, tokens first": (lambda: Encoder(False, True), 32, [tokens_first]),
}


def timm_model(name, **k):
    return lambda: pytest.importorskip("timm").create_model(name, num_classes=3, **k)


def mixer():
    made = pytest.importorskip("timm").models.MlpMixer
    return made(num_classes=3, img_size=32, patch_size=8, embed_dim=16, num_blocks=2)


SMALL = dict(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2)
TIMM = {
    "timm vit with registers": (
        timm_model("vit_tiny_patch16_224", reg_tokens=4, **SMALL),
        32,
        [tokens(5)],
    ),
    "timm deit": (timm_model("deit_tiny_distilled_patch16_224", **SMALL), 32, [tokens(2)]),
    "timm beit": (timm_model("beit_base_patch16_224", **SMALL), 32, [tokens(1)]),
    "timm eva": (timm_model("eva02_tiny_patch14_224", **SMALL), 32, [tokens(1)]),
    "timm mixer": (lambda: mixer(), 32, [tokens()]),
    "timm levit": (
        timm_model(
            "levit_128s",
            img_size=64,
            embed_dim=(16, 32),
            key_dim=8,
            depth=(1, 1),
            num_heads=(2, 2),
        ),
        64,
        [tokens(0, 4), tokens(0, 2)],
    ),
    "timm swin, windows shifted": (
        timm_model(
            "swin_tiny_patch4_window7_224",
            img_size=32,
            window_size=4,
            embed_dim=8,
            depths=(2,),
            num_heads=(2,),
        ),
        32,
        [last, tokens(0, 8), squares(8, 4), squares(8, 4, shift=2)],
    ),
    "timm mobilevit": (timm_model("mobilevit_xxs"), 64, []),
    "timm mobilevit v2": (timm_model("mobilevitv2_050"), 64, []),
    "timm efficientvit": (timm_model("efficientvit_b0"), 64, []),
    "timm efficientformer": (timm_model("efficientformer_l1"), 224, [tokens(0, 7)]),
}


def folded(t, side, size=2):
    "MobileViT's (n * size * size, places, C) by hand: each image's places in turn."
    k = side // size
    places = t.reshape(-1, size, size, k, k, t.shape[-1])
    return places.permute(0, 5, 3, 1, 4, 2).reshape(-1, t.shape[-1], side, side)


def checked(name, make, size, back, kinds=("mlp", "tokens", "attention")):
    torch.manual_seed(0)
    net = make().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table, _ = select_layers(net, pictures(2, size), [k for k in kinds if has(net, size, k)])
        found = list_layers(net, pictures(2, size))
    for n in (1, 2, 5):
        x = pictures(n, size, n)
        got = agree(net, x, table, back)
        alone = read_maps(net, x[-1:], table)
        for layer, maps in got.items():
            torch.testing.assert_close(maps[-1:], alone[layer], rtol=1e-3, atol=1e-4)
    maps = got[table.layer[0]].numpy()[:2, :4]
    for filtration in ("clique", "cubical"):
        want = births(maps, filtration, engine="gudhi")
        np.testing.assert_array_equal(births(maps, filtration), want)
    grids = sorted(set(zip(table.height, table.width)))
    SEEN.append((name, len(found), int(table.units.sum()), grids, int(table.prefix.max())))


def has(net, size, kind):
    table = list_layers(net, pictures(2, size), kinds=(kind,))
    return bool((table.height > 1).any())


@pytest.mark.parametrize("name", TV)
def test_families_of_torch_and_torchvision(name):
    checked(name, *TV[name])


@pytest.mark.parametrize("name", [n for n, (_, _, back) in TIMM.items() if back])
def test_families_of_timm(name):
    pytest.importorskip("timm")
    checked(name, *TIMM[name])


def of_hugging_face(kind, **settings):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(num_labels=3, **settings)
    return getattr(transformers, f"{kind}ForImageClassification")(config)


WIDTHS = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32)
HF = {
    "HF vit": (
        lambda: of_hugging_face("ViT", patch_size=8, intermediate_size=32, **WIDTHS),
        32,
        [tokens(1)],
    ),
    "HF dinov2": (
        lambda: of_hugging_face("Dinov2", patch_size=8, mlp_ratio=2, **WIDTHS),
        32,
        [tokens(1)],
    ),
    "HF swin": (
        lambda: of_hugging_face(
            "Swin", image_size=32, embed_dim=8, depths=[2], num_heads=[2], window_size=4
        ),
        32,
        [tokens(0, 8), squares(8, 4), squares(8, 4, shift=2)],
    ),
    "HF convnext v2": (
        lambda: of_hugging_face("ConvNextV2", num_stages=2, hidden_sizes=[8, 16], depths=[1, 1]),
        32,
        [last],
    ),
}


@pytest.mark.parametrize("name", HF)
def test_families_of_hugging_face(name):
    checked(name, *HF[name])


class Blind(nn.Module):
    "A patch embedding whose places no call tells."

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3 * 64, 16), nn.Linear(16, 3)
        self.hidden = nn.Linear(16, 24)
        self.out = nn.Linear(24, 16)

    def forward(self, x):
        p = x.numpy().reshape(len(x), 3, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5)
        t = self.embed(torch.from_numpy(p.reshape(len(x), 16, -1).copy()))
        t = t + self.out(F.relu(self.hidden(t)))
        return self.head(t.mean(1))


def test_a_grid_that_no_call_tells_is_asked_for_and_taken():
    torch.manual_seed(0)
    net, x = Blind().eval(), pictures(3, 32)
    told = r"layer 'mlp' has no map: it gives \(16, 24\) for an image and no call tells their grid"
    with pytest.raises(ValueError, match=told):
        select_layers(net, x, "mlp")
    table, _ = select_layers(net, x, "mlp", grid=(4, 4))
    seen = seen_by_hooks(net, x)
    want = tokens()(F.relu(seen["hidden"][0]))
    assert torch.equal(read_maps(net, x, table)["hidden+relu"], want)
    with pytest.raises(ValueError, match=r"no layer gives 1 \+ 4 x 4 = 17 tokens"):
        select_layers(net, x, "mlp", grid=(4, 4), prefix=1)
    with pytest.raises(ValueError, match="belongs to a grid"):
        list_layers(net, x, prefix=1)


def test_a_grid_against_the_trace_is_refused():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=r"grid=\(2, 8\) is not what the trace tells \(4 x 4\)"):
        list_layers(vit().eval(), pictures(2, 32), grid=(2, 8), prefix=1)


def test_units_are_convolutions_and_neurons_and_few_convolutions_are_told():
    import featent as fe

    torch.manual_seed(0)
    net, images = vit().eval(), fe.images("digits", per_class=2, size=32, channels=3)
    result = fe.assess(net, images, "units", preflight="off")
    assert list(result.layers.kind) == ["conv", "mlp", "mlp"]
    with pytest.warns(UserWarning, match="layers='units' takes the neurons of the MLPs as well"):
        fe.assess(net, images, "conv")


def test_units_of_tokens_are_removed_with_all_their_places():
    from featent.studies.masking import masked_scores

    torch.manual_seed(0)
    net, x = vit().eval(), pictures(3, 32)
    removed = np.zeros((2, 32), bool)
    removed[1, ::2] = True
    layer = "encoder.layers.encoder_layer_0.mlp.0+gelu"
    found = {e: masked_scores(net, x, layer, removed, engine=e) for e in ("rerun", "replay")}
    torch.testing.assert_close(found["rerun"], found["replay"], rtol=1e-4, atol=1e-5)

    def without(m, args, out):
        return torch.where(torch.from_numpy(removed[1]), torch.zeros(()), out)

    handle = net.encoder.layers[0].mlp[1].register_forward_hook(without)
    with torch.no_grad():
        want = net(x)
    handle.remove()
    torch.testing.assert_close(found["rerun"][1], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_precisions_formats_and_compiled_networks_have_the_same_maps(dtype):
    torch.manual_seed(0)
    net, x = vit().eval(), pictures(3, 32)
    table, _ = select_layers(net, x, "mlp")
    want = read_maps(net, x, table)
    for maps in (
        read_maps(net.to(memory_format=torch.channels_last), x, table),
        read_maps(torch.compile(net), x, table),
    ):
        assert all(torch.equal(maps[name], want[name]) for name in want)
    with torch.autocast("cpu", dtype):
        half = read_maps(net, x, select_layers(net, x, "mlp")[0])
    assert {m.dtype for m in half.values()} == {dtype}
    for name in want:
        torch.testing.assert_close(half[name].float(), want[name], rtol=0.05, atol=0.05)


def test_a_random_twin_of_a_transformer_has_the_start_of_its_own():
    from featent.data.twins import random_twin

    torch.manual_seed(0)
    net = vit().eval()
    twin = random_twin(net, 1, build=vit)
    assert not torch.equal(twin.conv_proj.weight, net.conv_proj.weight)
    x = pictures(2, 32)
    table, _ = select_layers(net, x, "mlp")
    assert [m.shape for m in read_maps(twin, x, table).values()] == [(2, 32, 4, 4)] * 2


def test_tokens_without_a_value_are_refused_by_name():
    from featent.data.layers import list_layers

    with torch.device("meta"):
        net = vit()
    with pytest.raises(ValueError, match="is on the meta device and has no values"):
        list_layers(net, pictures(2, 32))


def test_the_table_of_families():
    "Last: what was read."
    for name, layers, units, grids, prefix in SEEN:
        print(f"{name:28} {layers:4} layers {units:6} units  prefix {prefix}  {grids}")
    assert all(grids for *_, grids, _ in SEEN)
