"What can be touched."

from . import (
    app as app,
    explorer as explorer,
    network_views as network_views,
    unit_views as unit_views,
)
