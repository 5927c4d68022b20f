"What goes in: images with labels, networks, the layers of a network and their maps."

from . import (
    checkpoints as checkpoints,
    images as images,
    layers as layers,
    listening as listening,
    networks as networks,
)
