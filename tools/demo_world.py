"""The small world of the demonstration model: concepts, their names, and their drawings.

Everything comes from npm packages with permissive licences (``SOURCES``), fetched with
``npm pack`` and pinned by version. A concept is an emoji; a style is one artist's set of
drawings. The held-out style (Twemoji) is rendered for evaluation and never trained on.

Rendering needs the pip package ``resvg-py``; nothing else in the project does.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CACHE_SIZE = 96
"""Edge of the cached renderings in pixels; training crops and shrinks from here."""

MIN_STYLES = 3
"""A concept needs drawings in so many training styles, and one in the held-out style."""


@dataclass(frozen=True)
class Source:
    """One npm package and, for pictures, the style its drawings belong to."""

    style: str
    package: str
    version: str
    license: str
    author: str
    url: str
    held_out: bool = False
    shipped: bool = True


NAMES = Source("names", "emojibase-data", "17.0.0", "MIT", "Miles Johnson", "https://emojibase.dev")

SOURCES = (
    Source(
        "noto",
        "@iconify-json/noto",
        "1.2.9",
        "Apache-2.0",
        "Google Inc",
        "https://github.com/googlefonts/noto-emoji",
    ),
    Source(
        "noto-v1",
        "@iconify-json/noto-v1",
        "1.2.5",
        "Apache-2.0",
        "Google Inc",
        "https://github.com/googlefonts/noto-emoji",
    ),
    Source(
        "fxemoji",
        "@iconify-json/fxemoji",
        "1.2.2",
        "Apache-2.0",
        "Mozilla",
        "https://github.com/mozilla/fxemoji",
    ),
    Source(
        "emojione",
        "@iconify-json/emojione",
        "1.2.3",
        "CC-BY-4.0",
        "Emoji One",
        "https://github.com/EmojiTwo/emojitwo",
    ),
    Source(
        "fluent",
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "MIT",
        "Microsoft Corporation",
        "https://github.com/microsoft/fluentui-emoji",
    ),
    Source(
        "fluent-flat",
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "MIT",
        "Microsoft Corporation",
        "https://github.com/microsoft/fluentui-emoji",
    ),
    Source(
        "fluent-3d",
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "MIT",
        "Microsoft Corporation; packaged by LobeHub",
        "https://github.com/lobehub/fluent-emoji",
    ),
    Source(
        "streamline",
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "CC-BY-4.0",
        "Streamline",
        "https://github.com/webalys-hq/streamline-vectors",
        shipped=False,
    ),
    Source(
        "twemoji",
        "@iconify-json/twemoji",
        "1.2.5",
        "CC-BY-4.0",
        "Twitter",
        "https://github.com/jdecked/twemoji",
        held_out=True,
        shipped=False,
    ),
)

HELD_OUT = {source.style for source in SOURCES if source.held_out}
"""Styles that are rendered for evaluation only."""

LETTERING = {"keycap", "alphanum", "arrow", "av-symbol", "country-flag", "subdivision-flag"}
"""Subgroups left out: signs that are lettering, arrows or one flag a country."""


@dataclass(frozen=True)
class Concept:
    """One thing of the world: a key, its name, its keywords and where it belongs."""

    key: str
    name: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    hexcode: str


@dataclass(frozen=True)
class Drawing:
    """One artist's drawing of one concept, not rendered yet."""

    concept: str
    style: str
    svg: str | None = None
    raster: bytes | None = None

    def render(self, size: int = CACHE_SIZE) -> NDArray[np.uint8]:
        """Render to ``(size, size, 4)`` RGBA."""
        if self.raster is not None:
            picture = Image.open(io.BytesIO(self.raster))
        else:
            import resvg_py  # training-time tool only: the tests of the project run without it

            png = resvg_py.svg_to_bytes(svg_string=self.svg, width=size, height=size)
            picture = Image.open(io.BytesIO(bytes(png)))
        square = picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)
        return np.asarray(square)


def fetch(work: Path) -> None:
    """Download and unpack every package into ``work/packages``; what is there is kept."""
    packages = work / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    for source in (NAMES, *SOURCES):
        target = packages / source.style
        if target.exists():
            continue
        archive = subprocess.run(
            ["npm", "pack", "--silent", f"{source.package}@{source.version}"],
            cwd=packages,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()[-1]
        with tarfile.open(packages / archive) as tar:
            tar.extractall(target, filter="data")
        (packages / archive).unlink()


def slug(text: str) -> str:
    """Lower-case ASCII words joined by hyphens, as Iconify names its icons."""
    text = text.lower().replace("&", "and").replace("\u2019", "").replace("'", "")
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def wanted(entry: dict[str, Any], subgroup: str, names: set[str]) -> bool:
    """The rules of the world: no variant of another concept, no lettering.

    They look at names and categories only, never at how well a model does on the concept.
    """
    name = entry["label"]
    gendered = re.sub(r"^(man|woman|men|women) (with |in )?", "", name)
    return not (
        subgroup in LETTERING
        or ":" in name  # "kiss: woman, man", "person walking: facing right"
        or "gender" in entry
        or (gendered != name and any(gendered in (n, n.removeprefix("person ")) for n in names))
        or re.search(r"o.clock|-thirty", name)
        or (subgroup == "geometric" and re.search(r"small|medium", name))
    )


def read_names(work: Path) -> tuple[list[Concept], dict[str, str]]:
    """All wanted concepts, drawn or not, and the formal Unicode names by hexcode."""
    root = work / "packages" / "names" / "package"
    messages = read_json(root / "en/messages.json")
    groups = {item["order"]: item["key"] for item in messages["groups"]}
    entries = [e for e in read_json(root / "en/data.json") if e.get("group") not in (None, 2)]
    subgroups = read_json(root / "meta/groups.json")["subgroups"]
    names = {entry["label"] for entry in entries}
    concepts = []
    for entry in entries:
        subgroup = subgroups[str(entry["subgroup"])]
        if wanted(entry, subgroup, names):
            name = entry["label"].replace("\u2019", "'").replace("\u201c", "").replace("\u201d", "")
            concepts.append(
                Concept(
                    slug(name),
                    name,
                    tuple(entry.get("tags", ())),
                    groups[entry["group"]],
                    subgroup,
                    entry["hexcode"].lower(),
                )
            )
    return concepts, read_json(root / "meta/unicode-names.json")


def icon_svg(icons: dict[str, Any], name: str) -> str | None:
    """The SVG of one icon of an Iconify set, following aliases that only rename."""
    alias = icons.get("aliases", {}).get(name)
    icon = icons["icons"].get(alias["parent"] if alias else name)
    if icon is None:
        return None
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    left, top = icon.get("left", 0), icon.get("top", 0)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )


class IconNames:
    """What one emoji is called in the sets: CLDR name, Unicode name, icon names by code."""

    def __init__(self, work: Path, unicode_names: dict[str, str]) -> None:
        packages = work / "packages"
        self.by_code = [
            read_json(packages / style / "package/chars.json")
            for style in ("noto", "twemoji", "fluent-flat")
        ]
        self.unicode_names = unicode_names

    def of(self, concept: Concept) -> list[str]:
        codes = (concept.hexcode, concept.hexcode.replace("-fe0f", ""))
        found = [slug(concept.name)]
        found += [chars[code] for code in codes for chars in self.by_code if code in chars]
        formal = self.unicode_names.get(concept.hexcode.upper())
        found += [slug(formal)] if formal else []
        return list(dict.fromkeys(found))


def drawings_of(
    source: Source, concepts: list[Concept], icon_names: IconNames, work: Path
) -> Iterator[Drawing]:
    """Yield the drawings a source has of the concepts, never one icon for two concepts."""
    root = work / "packages" / source.style / "package"
    if source.style == "fluent-3d":
        for concept in concepts:
            for code in (concept.hexcode, concept.hexcode.replace("-fe0f", "")):
                path = root / f"assets/{code}.webp"
                if path.exists():
                    yield Drawing(concept.key, source.style, raster=path.read_bytes())
                    break
        return
    icons = read_json(root / "icons.json")
    known: dict[str, list[str]] = {}
    for name in (*icons["icons"], *icons.get("aliases", {})):
        plain = name
        if source.style == "streamline":  # "cactus-1" and "cactus-2" are both a cactus
            plain = re.sub(r"-\d$", "", name)
        elif source.style == "fxemoji":  # "sliceofpizza"
            plain = name.replace("-", "")
        known.setdefault(plain, []).append(name)
    taken: set[str] = set()
    for concept in concepts:
        for candidate in icon_names.of(concept):
            if source.style == "fxemoji":
                candidate = candidate.replace("-", "")
            names = [name for name in known.get(candidate, ()) if name not in taken]
            if names:
                taken.update(names)
                for name in names:
                    svg = icon_svg(icons, name)
                    if svg is not None:
                        yield Drawing(concept.key, source.style, svg=svg)
                break


@dataclass(frozen=True)
class World:
    """The concepts and their renderings: ``pixels[i]`` is RGBA, drawn in ``styles[i]``."""

    concepts: list[Concept]
    owners: NDArray[np.int64]
    styles: list[str]
    pixels: NDArray[np.uint8]


def load_world(work: Path) -> World:
    """Fetch, match and render the world; the renderings are cached in ``work/world.npz``."""
    fetch(work)
    candidates, unicode_names = read_names(work)
    icon_names = IconNames(work, unicode_names)
    drawings = [d for s in SOURCES for d in drawings_of(s, candidates, icon_names, work)]
    held_out = {source.style for source in SOURCES if source.held_out}
    trained: dict[str, set[str]] = {}
    tested: set[str] = set()
    for drawing in drawings:
        if drawing.style in held_out:
            tested.add(drawing.concept)
        else:
            trained.setdefault(drawing.concept, set()).add(drawing.style)
    concepts = [
        c for c in candidates if c.key in tested and len(trained.get(c.key, ())) >= MIN_STYLES
    ]
    index = {concept.key: number for number, concept in enumerate(concepts)}
    drawings = [drawing for drawing in drawings if drawing.concept in index]
    owners = np.array([index[drawing.concept] for drawing in drawings], dtype=np.int64)
    cache = work / "world.npz"
    if cache.exists():
        pixels = np.load(cache)["pixels"]
    else:
        pixels = np.stack([drawing.render() for drawing in drawings])
        np.savez(cache, pixels=pixels)
    if len(pixels) != len(drawings):
        raise SystemExit(f"{cache} does not fit the packages: delete it and run again")
    return World(concepts, owners, [drawing.style for drawing in drawings], pixels)


def pick_samples(world: World) -> list[int]:
    """One drawing a concept for shipping, the styles taken in turn among those there are."""
    allowed = [source.style for source in SOURCES if source.shipped]
    by_concept: dict[int, dict[str, int]] = {}
    for drawing, (owner, style) in enumerate(zip(world.owners, world.styles, strict=True)):
        if style in allowed:
            by_concept.setdefault(int(owner), {}).setdefault(style, drawing)
    picked, used = [], dict.fromkeys(allowed, 0)
    for owner in range(len(world.concepts)):
        style = min(by_concept[owner], key=lambda name: (used[name], name))
        used[style] += 1
        picked.append(by_concept[owner][style])
    return picked


def held_out_drawings(world: World) -> list[int]:
    """The held-out style's drawing of every concept, in the order of the concepts."""
    found = {int(o): i for i, o in enumerate(world.owners) if world.styles[i] in HELD_OUT}
    return [found[owner] for owner in range(len(world.concepts))]
