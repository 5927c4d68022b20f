"_quarto.yml: what Quarto lets pass with exit code 0, and this site does not."

import re

import yaml

from .sources import pages

BOOTSWATCH = set(
    """cerulean cosmo cyborg darkly flatly journal litera lumen lux materia minty morph pulse
    quartz sandstone simplex sketchy slate solar spacelab superhero united vapor yeti
    zephyr""".split()
)


KEYS = {
    (): "project format website execute metadata-files lang",
    ("project",): "type output-dir resources render pre-render post-render execute-dir preview",
    ("format",): "html",
    ("format", "html"): """theme toc toc-depth toc-location toc-expand code-link code-copy
        code-fold code-overflow code-tools html-math-method css fig-align anchor-sections
        smooth-scroll link-external-newwindow lightbox number-sections license citation
        respect-user-color-scheme""",
    ("website",): """title description search page-navigation sidebar navbar page-footer favicon
        site-url repo-url repo-branch repo-subdir repo-actions issue-url back-to-top-navigation
        bread-crumbs reader-mode open-graph twitter-card""",
    ("website", "sidebar"): """style contents title subtitle search collapse-level id logo align
        background border tools""",
}


ADDRESSES = {"site-url", "repo-url", "issue-url"}  # keys that may name another place


def check_config(root):
    "_quarto.yml is what Quarto and this site need."
    path = root / "_quarto.yml"
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Strict)
    except yaml.YAMLError as e:
        return [f"_quarto.yml: not valid YAML: {' '.join(str(e).split())}"]
    if not isinstance(config, dict):
        return ["_quarto.yml: holds no keys"]
    faults = [*unknown_keys(config), *addresses(config)]
    html, site = (config.get("format") or {}).get("html") or {}, config.get("website") or {}
    if (config.get("project") or {}).get("type") != "website":
        faults.append("_quarto.yml: project: type must be website")
    if html.get("html-math-method") != "mathml":
        faults.append(
            "_quarto.yml: html-math-method must be mathml: every other method loads a library "
            "from elsewhere"
        )
    if site.get("search") is not True:
        faults.append("_quarto.yml: website: search must be true")
    if not (site.get("title") and site.get("description")):
        faults.append("_quarto.yml: website: title and description are needed")
    if (
        not (root / "nbs/_quarto.yml").exists()
        or (root / "nbs/_quarto.yml").resolve() != path.resolve()
    ):
        faults.append("nbs/_quarto.yml: must be a link to ../_quarto.yml")
    return faults + list(check_themes(root, html.get("theme")))


class Strict(yaml.SafeLoader):
    "YAML without repeated keys."


def no_twins(loader, node):
    pairs = loader.construct_pairs(node, deep=True)
    for i, (k, _) in enumerate(pairs):
        if k in [other for other, _ in pairs[:i]]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {k!r} stands twice", node.value[i][0].start_mark
            )
    return dict(pairs)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, no_twins)


def unknown_keys(config):
    for place, words in KEYS.items():
        part = config
        for k in place:
            part = part.get(k) if isinstance(part, dict) else None
        for k in part if isinstance(part, dict) else ():
            if k not in words.split():
                yield (
                    f"_quarto.yml: {' > '.join((*place, str(k)))}: not a key that this check "
                    "knows; Quarto would ignore a misspelt one"
                )


def addresses(value, key="_quarto.yml"):
    "Values that name another place."
    if isinstance(value, dict):
        for k, v in value.items():
            if k not in ADDRESSES:
                yield from addresses(v, k)
    elif isinstance(value, list):
        for v in value:
            yield from addresses(v, key)
    elif isinstance(value, str) and ("://" in value or value.startswith("//")):
        yield f"_quarto.yml: {key}: {value} is loaded from elsewhere; the site must work alone"


def check_themes(root, theme):
    "A light and a dark theme that exist and bring no font from elsewhere."
    if not isinstance(theme, dict) or set(theme) != {"light", "dark"}:
        yield "_quarto.yml: theme: give one for light and one for dark"
        return
    for mode, names in theme.items():
        names = names if isinstance(names, list) else [names]
        styles = [root / "nbs" / n for n in names if str(n).endswith(".scss")]
        for n in names:
            if n not in BOOTSWATCH | {"default"} and not str(n).endswith(".scss"):
                choices = ", ".join(sorted(BOOTSWATCH))
                said = f"_quarto.yml: theme: {mode}: unknown theme {n!r}"
                yield f"{said}; choose from default, {choices}"
        for s in styles:
            if not s.exists():
                yield f"_quarto.yml: theme: {mode}: there is no nbs/{s.name}"
        local = any(
            s.exists() and re.search(r"^\$web-font-path:\s*false", s.read_text(), re.M)
            for s in styles
        )
        if BOOTSWATCH & set(map(str, names)) and not local:
            yield (
                f"_quarto.yml: theme: {mode}: {names[0]} loads its font from elsewhere; add a "
                ".scss file with `$web-font-path: false !default;`"
            )


def listed(contents, place="sidebar"):
    "(page, fault) of every entry of a sidebar."
    for entry in contents if isinstance(contents, list) else ():
        if isinstance(entry, str):
            yield entry, None
        elif not isinstance(entry, dict):
            yield None, f"{place}: {entry!r} is no entry"
        elif "section" in entry:
            if unknown := set(entry) - {"section", "contents", "href", "expanded"}:
                yield (
                    None,
                    f"{place}: section {entry['section']!r}: unknown key "
                    + ", ".join(sorted(unknown)),
                )
            if not entry.get("contents"):
                yield None, f"{place}: section {entry['section']!r} is empty"
            if "href" in entry:
                yield entry["href"], None
            yield from listed(entry.get("contents"), f"{place}: {entry['section']}")
        elif "href" in entry and not set(entry) - {"href", "text", "icon"}:
            yield entry["href"], None
        else:
            yield None, f"{place}: {entry!r} is neither a page nor a section"


def check_sidebar(root):
    "Every page of the sidebar is there, once, and every page is in the sidebar."
    try:
        config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    except yaml.YAMLError:
        return  # told by check_config
    sidebar = ((config or {}).get("website") or {}).get("sidebar") or {}
    entries = list(listed(sidebar.get("contents")))
    names, there = (
        [n for n, _ in entries if n],
        {p.relative_to(root / "nbs").as_posix() for p in pages(root)},
    )
    for _, fault in entries:
        if fault:
            yield f"_quarto.yml: {fault}"
    for n in dict.fromkeys(names):
        if n not in there:
            yield f"_quarto.yml: sidebar: {n} is not a page: there is no nbs/{n}"
        if names.count(n) > 1:
            yield f"_quarto.yml: sidebar: {n} stands {names.count(n)} times"
    for n in sorted(there - set(names)):
        yield f"nbs/{n}: not in the sidebar of _quarto.yml"
    built = {}
    for n in sorted(there):
        built.setdefault(built_name(n), []).append(n)
    for name, sources in built.items():
        if len(sources) > 1:
            both = f"nbs/{sources[0]} and nbs/{sources[1]}"
            yield f"{both} would both become {name}: give one another name"


def built_name(page):
    "The file that nbdev makes of a page: without the number of a chapter."
    folder, _, name = page.rpartition("/")
    return (
        f"{folder}/{re.sub(r'^[0-9]+[a-z0-9]*_', '', name.lower()).rpartition('.')[0]}.html".lstrip(
            "/"
        )
    )
