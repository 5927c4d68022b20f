"""Gray values of files and arrays, words for what goes in, and photographs that were turned."""

import struct
import zlib

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from featent.data.pictures import ImageError
from featent.data.preprocessing import image_options, preprocess
from featent.data.sampling import images

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def folder(tmp_path, *pictures, name="x.png", **options):
    "A folder of one class with pictures that are saved"
    for i, p in enumerate(pictures):
        path = tmp_path / "set/c" / f"{i}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        p.save(path, **options)
    return tmp_path / "set"


def ordinary():
    rgb = Image.fromarray(np.stack([RAMP, RAMP.T, 255 - RAMP], 2))
    yield "rgb.png", rgb
    yield "cmyk.jpg", rgb.convert("CMYK")
    yield "palette.png", rgb.convert("P")
    yield "rgba.png", Image.fromarray(np.dstack([np.asarray(rgb), RAMP]))
    yield "la.png", Image.fromarray(RAMP).convert("LA")
    yield "one.png", Image.fromarray(RAMP > 128)
    yield "lab.tif", rgb.convert("LAB")
    yield "ycc.tif", rgb.convert("YCbCr")
    yield "gray.jpg", Image.fromarray(RAMP)
    yield "gray.pgm", Image.fromarray(RAMP)
    yield "web.WEBP", rgb
    yield "bit.bmp", rgb


@pytest.mark.parametrize("name, picture", [*ordinary()])
def test_ordinary_files_are_those_of_image_folder(name, picture, tmp_path):
    where = folder(tmp_path, picture, name=name)
    theirs = torchvision.transforms.functional.to_tensor(
        torchvision.datasets.ImageFolder(where)[0][0]
    )
    assert torch.equal(images(where)[0][0], theirs)


def test_sixteen_bits_of_the_whole_range_need_no_word(tmp_path, recwarn):
    where = folder(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 257))
    assert (
        torch.equal(images(where)[0][0][0] * 255, torch.from_numpy(RAMP).float())
        and not recwarn.list
    )


def test_twelve_bits_in_sixteen_keep_their_grays_once_white_is_told(tmp_path):
    deep = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    where = folder(tmp_path, Image.fromarray(deep), Image.fromarray(deep[::-1].copy()))
    with pytest.raises(
        ImageError,
        match=r"c/0x.png: a 16-bit image holds values up to 4095 only, .*pass full=",
    ):
        images(where)[0]
    got = images(where, full=4095)
    assert (
        len(got[0][0].unique()) == 4096 and got[0][0].max() == 1 and got[0][0].shape == (3, 64, 64)
    )
    assert (
        torch.equal(got[0][0][1], torch.from_numpy((deep / 4095).astype(np.float32)))
        and got.record["full"] == 4095
    )
    assert images(where, full=4095, channels=1)[0][0].shape == (1, 64, 64)
    with pytest.raises(ImageError, match="values from 0 to 4095, outside 0..full=1023"):
        images(where, full=1023)[0]
    with pytest.raises(
        ImageError, match="0x.png: a 16-bit image"
    ):  # a wrong range is no broken file
        images(where, on_error="skip")


def test_fourteen_bits_are_told(tmp_path):
    where = folder(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 64))
    with pytest.warns(
        UserWarning, match="less than a quarter of the range, white is taken as 65535.* pass full="
    ):
        images(where)[0]


def test_black_is_black_at_any_range(tmp_path):
    assert images(folder(tmp_path, Image.fromarray(np.zeros((4, 4), np.uint16))))[0][0].max() == 0


@pytest.mark.parametrize(
    "values, full",
    [
        (RAMP.astype(np.int32), 255),
        (RAMP.astype(np.int32) * 1000, 255_000),
        ((RAMP / 255).astype(np.float32), 1.0),
    ],
)
def test_grays_of_unknown_range_are_refused_or_scaled(tmp_path, values, full):
    where = folder(tmp_path, Image.fromarray(values), name="x.tif")
    with pytest.raises(
        ImageError, match="c/0x.tif: the image holds .* of unknown range .* pass full="
    ):
        images(where)[0]
    expected = torch.from_numpy(RAMP) / 255
    assert torch.allclose(images(where, full=full)[0][0][0], expected, atol=1e-6)
    assert torch.allclose(
        images([(values, 0), (Image.fromarray(values), 0)], full=full)[0][0][0], expected, atol=1e-6
    )


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.uint16),
        RAMP.astype(np.int64),
        torch.from_numpy(RAMP.astype(np.int32)),
        torch.from_numpy(RAMP.astype(np.uint16)),
    ],
)
def test_integers_of_more_than_eight_bits_need_their_range(values):
    with pytest.raises(
        ImageError, match="must be uint8 or floating point, not torch.* .0 to 255.: pass full="
    ):
        images([(values, 0)] * 2)[0]
    assert torch.allclose(
        images([(values, 0)] * 2, full=255)[0][0][0], torch.from_numpy(RAMP) / 255
    )


def test_numbers_that_cannot_be_held_are_refused():
    with pytest.raises(
        ImageError, match="integers up to 16777217, and float32 is exact up to 16777216 only"
    ):
        images([(np.full((4, 4), 2**24 + 1), 0)] * 2, full=2**31)[0]
    with pytest.raises(ImageError, match="values from -5 to"):
        images([(np.full((4, 4), -5, np.int16), 0)] * 2, full=100)[0]
    with pytest.raises(ImageError, match="real numbers, not torch.complex64"):
        images([(torch.zeros(1, 4, 4, dtype=torch.complex64), 0)] * 2)[0]
    for bad in (0, -1, True, "255", np.inf, (1, 2)):
        with pytest.raises(
            ValueError, match="full=.* must be a positive number, the value of white"
        ):
            images(full=bad)


def png16(path, values):
    "A PNG of 16-bit colours, which PIL cannot write"
    h, w, _ = values.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    data = b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def test_colours_of_twelve_bits_in_sixteen_are_refused(tmp_path):
    values = np.repeat(np.arange(4096, dtype=np.uint16).reshape(64, 64, 1), 3, 2)
    png16(tmp_path / "a/c/x.png", values * 16)
    assert len(images(tmp_path / "a")[0][0].unique()) == 256
    png16(tmp_path / "b/c/x.png", values)
    with pytest.raises(ImageError, match="c/x.png: 16-bit colours that use 16 of 256 steps only"):
        images(tmp_path / "b")[0]


# ---- photographs that were turned


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_turned_photographs_are_told_and_can_be_turned(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    where = folder(tmp_path, Image.fromarray(RAMP[:8]), name="x.jpg", exif=exif)
    theirs = torchvision.transforms.functional.to_tensor(
        torchvision.datasets.ImageFolder(where)[0][0]
    )
    if orientation == 1:
        got = images(where)
    else:
        with pytest.warns(
            UserWarning,
            match=r"1 of the photographs \(c/0x.jpg, ...\) carry an EXIF note .*upright=True",
        ):
            got = images(where)
    assert torch.equal(got[0][0], theirs) and (got.record["turned"], got.record["upright"]) == (
        int(orientation > 1),
        False,
    )
    turned = images(where, upright=True)[0][0]
    assert torch.equal(
        turned, {1: theirs, 3: theirs.flip(1, 2), 6: theirs.rot90(-1, (1, 2))}[orientation]
    )


# ---- channels, crop, words


def test_a_gray_folder_stays_gray_to_the_bit(tmp_path):
    where = folder(tmp_path, Image.fromarray(RAMP), Image.fromarray(np.stack([RAMP] * 3, 2)))
    got = images(where, channels=1, size=16)
    for i in range(2):
        assert torch.equal(got[i][0], torch.from_numpy(RAMP)[None] / 255)
    assert images(where)[0][0].shape == (3, 16, 16) and images(where).record["channels"] == 3
    assert images("digits", per_class=2, channels=3)[0][0].shape == (3, 32, 32)
    assert torch.equal(
        images("digits", per_class=2, channels=3)[0][0][1], images("digits", per_class=2)[0][0][0]
    )
    with pytest.raises(ValueError, match="channels=2: choose 1 .gray. or 3 .RGB."):
        images(where, channels=2)


def test_the_usual_crop_is_that_of_the_published_presets():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 411, 3), np.uint8))
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    ours = preprocess(size=256, crop=224, mean="imagenet", std="imagenet")
    assert torch.equal(ours(photo), preset(photo))
    assert eval(repr(ours)) == ours and "crop" not in repr(preprocess(size=8))
    assert preprocess(size=40, crop=(30, 20))(photo).shape == (3, 30, 20) and preprocess(
        crop=100, channels=1
    )(photo).shape == (1, 100, 100)
    with pytest.raises(
        ValueError, match="crop=301 is larger than the image, 300 x 411 pixels: pass size="
    ):
        preprocess(crop=301)(photo)
    with pytest.raises(ValueError, match="crop=256 is larger than size=224"):
        preprocess(size=224, crop=256)
    for bad in (0, 2.5, "224", (1, 2, 3)):
        with pytest.raises(ValueError, match="crop=.* must be a positive integer or a pair"):
            preprocess(crop=bad)


def test_words_become_options():
    assert image_options("224,200", 1) == {"size": (224, 200), "channels": 1, "transform": None}
    assert image_options(mean="0.5", std="0.25")["transform"] == preprocess(mean=0.5, std=0.25)
    assert image_options(256, mean="imagenet", crop="224") == {
        "size": None,
        "channels": None,
        "transform": preprocess(256, "imagenet", "imagenet", crop=224),
    }
    got = images("digits", per_class=2, **image_options(16, 3, "0.1,0.2,0.3", "1"))
    assert got[0][0].shape == (3, 16, 16) and torch.allclose(
        got[0][0][0] - got[0][0][2], torch.tensor(0.2)
    )
    for bad, words in (
        ({"mean": 1}, "go together"),
        ({"crop": 8}, "crop needs mean and std"),
        ({"size": "big"}, "size='big': pass a number"),
        ({"mean": "a,b", "std": 1}, "mean='a,b': pass a number"),
        ({"mean": 0, "std": 0}, "std=0 must be positive"),
        ({"mean": np.nan, "std": 1}, "mean=nan must be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            image_options(**bad)
