"The `featent` command, which starts with what it needs: most of the package takes seconds to load."

import importlib.util
import sys


def main():
    "Make the package known without loading it, and hand over to its command line."
    spec = importlib.util.find_spec("featent")
    sys.modules["featent"] = importlib.util.module_from_spec(spec)
    from featent.commands.cli import main

    return main()
