"What can be typed."

from . import (
    bench as bench,
    claims as claims,
    cli as cli,
    health as health,
    magics as magics,
    runs as runs,
    vocabulary as vocabulary,
)
