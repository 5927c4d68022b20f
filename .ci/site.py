"""Check the site: `python .ci/site.py`. Its parts are in `.ci/sitecheck`.

First the sources: what Quarto lets pass with exit code 0 is a fault here, such as a sidebar entry
without a page, a broken link or anchor, an unknown theme or key. Then the pages: nbdev's own
preprocessing, HTML by Quarto where it is on the path and else by pandoc in the site's layout, and
a look at every page in Chromium, wide and narrow, light and dark.
`--sources` looks at the sources alone, which takes seconds; so does `--write`, which first puts
the API table of today's package into nbs/api.ipynb.
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from sitecheck import (  # noqa: E402
    backlinks,
    commands as typed,  # noqa: E402
    config,
    package,
    shown,
    sources,
    writing,
)
from sitecheck.api import api, check_api, write_api  # noqa: E402, F401
from sitecheck.build import build  # noqa: E402
from sitecheck.processing import check_imports  # noqa: E402
from sitecheck.sources import numbered, pages, slug  # noqa: E402, F401

CHECKS = (
    config.check_config,
    config.check_sidebar,
    writing.check_titles,
    writing.check_markdown,
    writing.check_links,
    writing.check_figures,
    writing.check_alone,
    writing.check_documents,
    package.check_names,
    shown.check_toys,
    shown.check_errors,
    check_imports,
    check_api,
    writing.check_references,
    typed.check_code,
)
CACHES = (
    sources.cells,
    backlinks.uses,
    sources.anchors,
    package.chapters,
    package.public,
    package.module_source,
    shown.raising,
    typed.command_line,
)


def faults(root, checks=CHECKS):
    "Everything that is wrong with the sources of a repository's site."
    root = Path(root).resolve()
    for f in CACHES:
        f.cache_clear()
    return list(writing.check_readable(root)) or [line for check in checks for line in check(root)]


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    default = "the repository (default: that of this file)"
    add("root", nargs="?", type=Path, default=HERE.parent, help=default)
    add("--write", action="store_true", help="write the table of the API page")
    add("--sources", action="store_true", help="do not build the pages")
    add("--keep", type=Path, metavar="FOLDER", help="leave the built pages there")
    add("--only", metavar="TEXT", default="", help="build only pages whose path holds this text")
    return parser


def main(argv=None):
    args = options().parse_args(argv)
    root = args.root.resolve()
    if args.write:
        write_api(root)
    found = faults(root)
    if not (args.sources or args.write):
        with tempfile.TemporaryDirectory() as folder:
            found += build(root, (args.keep or Path(folder)).resolve(), args.only)
    for line in found:
        print(line)
    if found:
        print(f"{len(found)} faults")
        return 1
    print(f"{len(pages(root))} pages, {len(package.public(root))} public names: no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
