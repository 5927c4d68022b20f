"""Networks whose units are channels of tokens: every map is the one that a plain hook sees.

The reference knows the grid by hand, as a `reshape_transform` would: where the prefix ends, or how
windows were cut. With FEATENT_FAMILIES=nbs/families.csv the table of families is written anew.
"""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
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
ENDS = "act", "drop", "bn", "norm"  # modules that may follow what a layer is named after


def pictures(n, size, seed=1, channels=3):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def tokens(prefix=0, side=4):
    "(n, prefix + side * side, C) by hand."
    return lambda t: t[:, prefix:].mT.unflatten(2, (side, side))


def plain(t):
    return t


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


def folded(side, size=2):
    "MobileViT's (n * size * size, patches, C) by hand: a place of all patches, then the next."
    k = side // size

    def back(t):
        parts = t.reshape(-1, size, size, k, k, t.shape[-1])
        return parts.permute(0, 5, 3, 1, 4, 2).reshape(-1, t.shape[-1], side, side)

    return back


def places(side, size=2):
    "MobileViT v2's (n, C, size * size, patches) by hand."
    k = side // size

    def back(t):
        parts = t.reshape(len(t), -1, size, size, k, k)
        return parts.permute(0, 1, 4, 2, 5, 3).reshape(len(t), -1, side, side)

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
            out = out[0] if isinstance(out, (tuple, list)) and len(out) else out
            if isinstance(out, torch.Tensor):
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
    around, inside, _ = row.module.partition(".mlp")
    around = around if inside else around.rpartition(".")[0]
    acts = [n for n in seen if n.startswith(around) and n.rpartition(".")[2] in ENDS]
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
    "timm mobilevit": (timm_model("mobilevit_xxs"), 64, [folded(8), folded(4), folded(2)]),
    "timm mobilevit v2": (
        timm_model("mobilevitv2_050"),
        64,
        [plain, places(8), places(4), places(2)],
    ),
    "timm efficientvit": (timm_model("efficientvit_b0"), 64, [plain]),
    "timm efficientformer": (timm_model("efficientformer_l1"), 224, [tokens(0, 7)]),
}
CONVOLVED = {  # their units are those of convolutions
    "timm mobilevit v2": [("conv", "tokens")],
    "timm efficientvit": [("conv",)],
}


def checked(name, make, size, back, kinds=("mlp", "tokens", "attention")):
    torch.manual_seed(0)
    net = make().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list_layers(net, pictures(2, size))
        with_maps = set(found.kind[found.height > 1])
        table, _ = select_layers(net, pictures(2, size), sorted(with_maps.intersection(kinds)))
    for n in (1, 5):
        x = pictures(n, size, n)
        got = agree(net, x, table, back)
    alone = read_maps(net, x[-1:], table)
    for layer, maps in got.items():
        torch.testing.assert_close(maps[-1:], alone[layer], rtol=1e-3, atol=1e-4)
    equal_to_gudhi(got[table.layer[0]])
    SEEN.append((name, table))


def equal_to_gudhi(maps):
    "Births of a few maps by both engines."
    few = maps.numpy()[:2, :4]
    for filtration in ("clique", "cubical"):
        want = births(few, filtration, engine="gudhi")
        np.testing.assert_array_equal(births(few, filtration), want)


@pytest.mark.parametrize("name", TV)
def test_families_of_torch_and_torchvision(name):
    checked(name, *TV[name])


@pytest.mark.parametrize("name", TIMM)
def test_families_of_timm(name):
    pytest.importorskip("timm")
    checked(name, *TIMM[name], *CONVOLVED.get(name, ()))


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


def maskrcnn(regions):
    "Mask R-CNN that keeps so many regions of each image."
    parts = tv.detection
    body = parts.backbone_utils.mobilenet_backbone(
        backbone_name="mobilenet_v3_large", weights=None, fpn=True
    )
    anchors = parts.rpn.AnchorGenerator(((32,),) * 3, ((1.0,),) * 3)
    kept = dict(rpn_post_nms_top_n_test=regions, box_score_thresh=0.0)
    sizes = dict(min_size=64, max_size=64, rpn_anchor_generator=anchors)
    return parts.MaskRCNN(body, 3, box_detections_per_img=regions, **sizes, **kept)


BARE = dict(weights=None, weights_backbone=None, num_classes=3)
DENSE = {
    "torchvision deeplabv3": lambda: tv.segmentation.deeplabv3_mobilenet_v3_large(**BARE),
    "torchvision lraspp": lambda: tv.segmentation.lraspp_mobilenet_v3_large(**BARE),
    "torchvision ssdlite": lambda: tv.detection.ssdlite320_mobilenet_v3_large(**BARE),
    "torchvision fasterrcnn": lambda: tv.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        **BARE, min_size=64, max_size=64
    ),
    "torchvision maskrcnn": lambda: maskrcnn(3),
}


@pytest.mark.parametrize("name", DENSE)
def test_segmenters_and_detectors_give_the_maps_of_their_convolutions(name):
    torch.manual_seed(0)
    net = DENSE[name]().eval()
    table, _ = select_layers(net, pictures(2, 64), "conv")
    for n in (1, 3):
        x = pictures(n, 64, n)
        got, seen = read_maps(net, x, table), seen_by_hooks(net, x)
        for row in table.itertuples():
            inside = row.module.rpartition(".")[0]
            made = [t for path in seen if path.startswith(inside) for t in seen[path]]
            alike = (t for t in made if t.shape == got[row.layer].shape)
            assert any(torch.equal(t, got[row.layer]) for t in alike), row.layer
    equal_to_gudhi(got[table.layer[3]])
    SEEN.append((name, table))


@pytest.mark.parametrize(
    ("regions", "told"),
    [(1, "gives its rows in another order"), (3, "gives 6 rows for 2 images")],
)
def test_regions_are_never_taken_for_images_not_even_one_of_each(regions, told):
    torch.manual_seed(0)
    net = maskrcnn(regions).eval()
    for layer in ("roi_heads.mask_head.0.0", "roi_heads.mask_predictor.conv5_mask"):
        with pytest.raises(ValueError, match=f"it {told}: its first axis does not count images"):
            select_layers(net, pictures(2, 64), layer)


def test_the_neurons_of_a_gated_mlp_are_chosen_by_the_module_that_hands_them_on():
    pytest.importorskip("timm")
    torch.manual_seed(0)
    net, x = TIMM["timm eva"][0]().eval(), pictures(3, 32)
    table = list_layers(net, x).set_index("layer")
    assert table.note["blocks.1.mlp.fc1"] == "read before what follows (silu)"
    chosen, _ = select_layers(net, x, "blocks.1.mlp.norm")
    seen = seen_by_hooks(net, x)
    want = tokens(1)(seen["blocks.1.mlp.norm"][0])
    assert torch.equal(read_maps(net, x, chosen)["blocks.1.mlp.norm"], want)


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
    "Last: the table on the page about transformers is that of the families above."
    if not SEEN:
        pytest.skip("no family was read in this run")
    rows = [family(name, table) for name, table in SEEN]
    found = pd.DataFrame(rows, columns=COLUMNS).sort_values("family", ignore_index=True)
    if path := os.environ.get("FEATENT_FAMILIES"):
        found.to_csv(path, index=False)
    stored = pd.read_csv(Path(__file__).parent.parent / "nbs" / "families.csv")
    assert found.equals(stored[stored.family.isin(found.family)].reset_index(drop=True))


COLUMNS = ["family", "kinds", "layers", "units", "grids", "prefix", "hooks", "gudhi"]


def family(name, table):
    "What the maps of a family are; a family that is here has passed both comparisons."
    grids = dict.fromkeys(f"{r.height} x {r.width}" for r in table.itertuples())
    kinds = ", ".join(sorted(set(table.kind)))
    few = [*grids] if len(grids) < 4 else [[*grids][0], "...", [*grids][-1]]
    counts = len(table), int(table.units.sum()), ", ".join(few), int(table.prefix.max())
    return name, kinds, *counts, "equal", "equal"
