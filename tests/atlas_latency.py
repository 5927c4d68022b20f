"""How long an atlas takes from a key to what is seen, in Chromium, at the size of VGG16.

    python tests/atlas_latency.py [FOLDER]

The numbers and maps are drawn at random: 4,224 units of 13 layers, 10 classes of 1,000 images.
Blocks are written for the layers that are looked at. Medians of 24 keys, in milliseconds.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import lab
from featent.explorers.atlas_pages import page_text
from featent.explorers.atlas_parts import BLOCK, part_text
from featent.explorers.shown_images import ROLES

UNITS = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]
SIDES = [224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14]
CLASSES, IMAGES, EACH, MOST = 10, 1000, 2, 56
RANDOM = np.random.default_rng(0)


def floats(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def index():
    n = len(UNITS)
    layers = [
        {"layer": f"features.conv{i}", "short": f"conv{i}", "module": f"features.{i}"}
        | {"kind": "Conv2d", "units": UNITS[i], "height": SIDES[i], "width": SIDES[i]}
        for i in range(n)
    ]
    profile = [
        {"series": s, "run": 0, "layer": layer["layer"], "filtration": "cubical"}
        | {k: float(RANDOM.random()) for k in ("H", "eps", "share")}
        for layer in layers
        for s in ("network", "shuffled maps")
    ]
    return {
        "title": "4,224 units", "version": "0", "network": "vgg16", "images_of": "noise",
        "classes": [{"label": c, "name": f"class {c}"} for c in range(CLASSES)],
        "filtrations": ["cubical"], "n_images": [IMAGES] * CLASSES,
        "labels": np.repeat(np.arange(CLASSES), IMAGES),
        "names": [f"image_{i:05}.jpeg" for i in range(CLASSES * IMAGES)],
        "layers": layers, "profile": profile, "roles": list(ROLES), "block": BLOCK, "notes": [],
        "each": EACH, "has_maps": True, "rivals": ["shuffled"], "picture": "png",
        "most_vertices": 32,
    }  # fmt: skip


def layer(units):
    keys = "H H_cwj lo hi H_null excess q eps eps_null n_births contrast contrast_lo contrast_hi"
    scores = {k: floats(units, CLASSES) for k in f"{keys} contrast_q invalid".split()}
    own = {k: floats(units) for k in "share share_lo share_hi share_q contrast follows rho".split()}
    own["share"][3] = 9  # the most telling unit is in the first block
    own["label"] = RANDOM.integers(0, CLASSES, units).astype(np.float32)
    return {
        "scores": {"cubical": scores},
        "status": RANDOM.choice(["answers", "carries no class", "redundant"], units).tolist(),
        "unit": own,
        "alike": RANDOM.integers(0, units, (units, 5)),
        "alike_rho": floats(units, 5),
        "mean": floats(units),
    }


def block(side):
    slots, n = EACH * len(ROLES), CLASSES * IMAGES
    shown = min(side, MOST)
    levels = min(255, side * side)
    ends = np.arange(1, BLOCK * slots + 1)
    births = RANDOM.integers(0, side * side // 2 + 2, (2, BLOCK, n))
    births[:, :, ::7] = 0
    rows = {"cells": (12, 2), "sides": (12, 4), "pairs": (20, 2)}
    found = {
        k: {"rows": RANDOM.integers(0, side, (m * ends[-1], w)), "ends": m * ends}
        for k, (m, w) in rows.items()
    }
    found["has_pairs"] = np.ones(ends[-1], bool)
    found["births"] = np.tile([side * side // 3, levels // 3], (BLOCK, slots, 1))
    found["curves"] = RANDOM.integers(0, 90, (BLOCK, slots, levels))
    maps = {
        "shown": RANDOM.integers(0, n, (BLOCK, slots)),
        "steps": RANDOM.integers(1, levels + 1, (BLOCK, slots, shown, shown)),
        "n_levels": np.full((BLOCK, slots), side * side),
        "cubical": found,
    }
    return {
        "births": {"cubical": births[0]},
        "shuffled": {"cubical": births[1]},
        "means": floats(BLOCK, n),
        "maps": maps,
    }


def write(folder):
    "The atlas, without the blocks that nobody will look at."
    (folder / "data").mkdir(parents=True)
    (folder / "images").mkdir()

    def put(name, part):
        text = f'featentAtlas("{name}",{part_text(part)})'
        (folder / "data" / f"{name}.js").write_text(text)

    put("index", index())
    for i, (units, side) in enumerate(zip(UNITS, SIDES)):
        put(f"layer-{i}", layer(units))
        small = min(side, 24)
        put(f"wall-{i}", {"steps": RANDOM.integers(1, 255, (units, small, small))})
        rivals = {k: floats(units, CLASSES) for k in ("H", "eps", "n_births", "contrast")}
        put(f"rivals-{i}", {"shuffled": {"cubical": rivals}})
        for start in range(0, units if i in (6, 8) else BLOCK, BLOCK):
            put(f"block-{i}-{start}", block(side))
    (folder / "index.html").write_text(page_text("latency"), encoding="utf-8")


PRESS = """async key => {
    const root = document.querySelector('.featent-atlas'), body = root.querySelector('.fa-body')
    const drawn = root.dataset.drawn, said = root.querySelector('.fa-said').textContent
    const other = () => root.dataset.drawn !== drawn
        || root.querySelector('.fa-said').textContent !== said
        || performance.now() - start > 3000
    const frame = () => new Promise(requestAnimationFrame)
    const start = performance.now()
    body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}))
    while (!other()) await new Promise(r => setTimeout(r, 0))
    await frame(); await frame()
    return performance.now() - start
}"""
LEVEL = PRESS.replace(".fa-said", "output")  # a level is said there


def measure(page, url, key, script=PRESS, n=24):
    "Median, and the largest, of so many keys, each after the one before is done."
    page.goto("about:blank")
    page.goto(url)
    page.wait_for_selector("[data-drawn]")
    page.wait_for_timeout(1500)
    times = []
    for _ in range(n):
        times.append(page.evaluate(script, key))
        page.wait_for_timeout(250)
    return statistics.median(times), max(times)


WAYS = {
    "unit, next": ("view=unit&layer=conv8", "ArrowRight", PRESS),
    "unit, next, sorted": ("view=unit&layer=conv6&sort=-contrast", "ArrowRight", PRESS),
    "unit, class": ("view=unit&layer=conv8", "]", PRESS),
    "unit, level": ("view=unit&layer=conv6", ".", LEVEL),
    "unit, layer": ("view=unit&layer=conv0", "}", PRESS),
    "layer, next unit": ("view=layer&layer=conv8", "ArrowRight", PRESS),
    "layer, class": ("view=layer&layer=conv8", "]", PRESS),
    "layer, layer": ("view=layer&layer=conv0", "}", PRESS),
    "network, class": ("view=network", "]", PRESS),
    "compare, class": ("view=compare&layer=conv8", "]", PRESS),
}


def main(folder):
    if not (folder / "index.html").is_file():
        write(folder)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=lab.chromium(), args=lab.FLAGS)
        page = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}).new_page()
        start = time.perf_counter()
        page.goto(f"file://{folder}/index.html")
        page.wait_for_selector("[data-drawn]")
        print(f"open                 {1000 * (time.perf_counter() - start):6.0f}")
        for name, (at, key, script) in WAYS.items():
            middle, most = measure(page, f"file://{folder}/index.html#{at}", key, script)
            print(f"{name:20} {middle:6.0f}  largest {most:6.0f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).absolute() / "atlas")
