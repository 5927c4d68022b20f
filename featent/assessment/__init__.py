"The verb, its result, what survives a kill, the pictures of a result."

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
