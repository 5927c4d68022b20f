"What goes in: images with labels, networks, the layers of a network and their maps."

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
