"Images that are held in memory: the same tensors, read and transformed once."

import numpy as np
import pytest
import torch

from featent.data.image_sets import Images, in_memory, read_once
from featent.data.preprocessing import preprocess
from featent.data.sampling import images


@pytest.fixture
def counted():
    "Six pictures, and how often each was transformed."
    calls, transform = [], preprocess(8, mean=0.3, std=0.4)
    items = [(np.full((8, 8), 20 * i, np.uint8), i % 3) for i in range(6)]

    def count(picture):
        calls.append(picture)
        return transform(picture)

    return images(items, transform=count), calls


def test_images_are_transformed_once_and_in_the_order_that_was_asked_for(counted):
    drawn, calls = counted
    want = [drawn[i] for i in range(6)]
    calls.clear()
    held = read_once(drawn, [4, 0, 5])
    for _ in range(3):
        for (x, y), i in zip((held[j] for j in range(3)), (4, 0, 5)):
            assert torch.equal(x, want[i][0]) and y == want[i][1]
    assert len(calls) == 3 and isinstance(held, Images)
    assert held.names == tuple(drawn.names[i] for i in (4, 0, 5)) and held.classes == drawn.classes


def test_what_is_held_does_not_change_with_what_is_done_to_an_image(counted):
    held = read_once(counted[0], range(6))
    before = held[2][0].clone()
    held[2][0].zero_()
    assert torch.equal(held[2][0], before)


def test_where_there_is_no_room_images_are_read_again(counted):
    drawn, _ = counted
    bytes_of_all = 6 * 8 * 8 * 4
    assert in_memory(drawn, bytes_of_all - 1) is drawn
    held = in_memory(drawn, bytes_of_all)
    assert held is not drawn and len(held) == 6 and (held.labels == drawn.labels).all()


def test_the_fingerprint_tells_the_images_and_not_how_they_are_held(counted):
    a, b = (read_once(counted[0], at) for at in ([0, 1, 2], [0, 1, 3]))
    assert a.record["transform"] == "the data set's own"
    assert a.record["fingerprint"] == read_once(counted[0], [0, 1, 2]).record["fingerprint"]
    assert a.record["fingerprint"] != b.record["fingerprint"]
