"""What the drawings are called: names, keywords, categories and true colours, as training text.

A caption comes with the concepts it may stand for, so that "dog" is allowed to mean the dog,
the dog face and the poodle, while "a picture of a poodle" means one thing only.
"""

from __future__ import annotations

import colorsys
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from demo_world import Concept
from numpy.typing import NDArray

TEMPLATES = (
    "{}",
    "{}",
    "{}",
    "a picture of {}",
    "an emoji of {}",
    "a drawing of {}",
    "an image of {}",
    "a small icon of {}",
    "a cartoon of {}",
    "this is {}",
    "here is {}",
    "show me {}",
    "the emoji {}",
)

CATEGORIES: dict[str, tuple[str, ...]] = {
    "smileys-emotion": ("emotion", "feeling", "smiley"),
    "people-body": ("people", "human", "body"),
    "animals-nature": ("nature", "living thing", "wildlife"),
    "food-drink": ("food and drink", "food", "something to eat", "meal", "something tasty"),
    "travel-places": ("travel", "places", "travel and places"),
    "activities": ("activity", "leisure", "something fun to do"),
    "objects": ("object", "thing", "item"),
    "symbols": ("symbol", "sign"),
    "flags": ("flag",),
    "face-smiling": ("happy face", "smiling face", "happiness", "happy", "joy"),
    "face-affection": ("affection", "loving face", "love", "face in love"),
    "face-tongue": ("face with its tongue out", "tongue out", "silly face"),
    "face-hand": ("face with a hand",),
    "face-neutral-skeptical": ("neutral face", "sceptical face", "skeptical face"),
    "face-sleepy": ("sleepy face", "tired", "somebody sleeping"),
    "face-unwell": ("ill", "sick face", "unwell", "illness"),
    "face-hat": ("face with a hat",),
    "face-glasses": ("face with glasses",),
    "face-concerned": ("sad face", "worried", "sad", "unhappy face", "sadness"),
    "face-negative": ("angry", "angry face", "bad mood", "anger"),
    "face-costume": ("creature", "monster", "costume"),
    "cat-face": ("cat", "cat face", "funny cat"),
    "monkey-face": ("monkey", "three wise monkeys"),
    "heart": ("heart", "love", "romance"),
    "emotion": ("comic symbol", "emotion"),
    "hand-fingers-open": ("hand", "open hand", "gesture"),
    "hand-fingers-partial": ("hand sign", "hand", "gesture"),
    "hand-single-finger": ("pointing finger", "finger", "hand"),
    "hand-fingers-closed": ("fist", "hand"),
    "hands": ("hands", "two hands", "gesture"),
    "hand-prop": ("hand",),
    "body-parts": ("body part", "part of the body", "anatomy"),
    "person": ("person", "human being"),
    "person-gesture": ("person making a gesture", "gesture", "person"),
    "person-role": ("job", "profession", "occupation", "person at work", "worker"),
    "person-fantasy": ("fantasy creature", "fairy tale", "fantasy"),
    "person-activity": ("person doing something", "person"),
    "person-sport": ("athlete", "sport", "person doing sport", "sports person"),
    "person-resting": ("resting", "relaxing", "person at rest"),
    "family": ("couple", "family", "people"),
    "person-symbol": ("people", "silhouette"),
    "animal-mammal": ("animal", "mammal", "animal with fur"),
    "animal-bird": ("bird", "animal", "animal that flies", "animal with feathers"),
    "animal-amphibian": ("amphibian", "animal"),
    "animal-reptile": ("reptile", "animal"),
    "animal-marine": (
        "sea animal",
        "animal in the sea",
        "marine life",
        "animal in the water",
        "sea creature",
        "animal",
        "something that swims",
    ),
    "animal-bug": ("insect", "bug", "animal", "small crawling animal"),
    "plant-flower": ("flower", "plant", "something that blooms"),
    "plant-other": ("plant", "tree or leaf", "greenery"),
    "food-fruit": ("fruit", "food", "something to eat", "healthy food"),
    "food-vegetable": ("vegetable", "food", "something to eat", "healthy food"),
    "food-prepared": ("dish", "food", "something to eat", "meal"),
    "food-asian": ("asian food", "food", "something to eat", "japanese food"),
    "food-marine": ("seafood", "food", "something to eat"),
    "food-sweet": ("sweets", "dessert", "something sweet", "candy", "food", "something to eat"),
    "drink": ("drink", "beverage", "something to drink"),
    "dishware": ("dishes", "cutlery", "dishware", "kitchen"),
    "place-map": ("map", "globe", "world"),
    "place-geographic": ("landscape", "scenery", "place in nature"),
    "place-building": ("building", "architecture", "house"),
    "place-religious": ("religious building", "place of worship", "religion"),
    "place-other": ("place", "scene", "view"),
    "transport-ground": ("vehicle", "transport", "something to ride", "land vehicle", "traffic"),
    "transport-water": ("boat", "vehicle", "ship", "water transport", "vessel"),
    "transport-air": ("aircraft", "vehicle", "something that flies", "air transport"),
    "hotel": ("hotel",),
    "time": ("time", "clock"),
    "sky-weather": ("weather", "sky", "sky and weather"),
    "event": ("celebration", "holiday", "party", "event"),
    "award-medal": ("award", "medal", "prize"),
    "sport": ("sport", "sports equipment", "game"),
    "game": ("game", "toy", "hobby", "something to play with"),
    "arts-crafts": ("art", "craft", "arts and crafts"),
    "clothing": ("clothing", "clothes", "something to wear", "fashion"),
    "sound": ("sound", "noise", "volume"),
    "music": ("music", "audio"),
    "musical-instrument": (
        "musical instrument",
        "music",
        "instrument",
        "something that makes music",
    ),
    "phone": ("phone", "communication"),
    "computer": ("computer", "electronics", "technology"),
    "light-video": ("film", "light", "video", "photography"),
    "book-paper": ("book", "paper", "something to read", "reading"),
    "money": ("money", "finance", "cash"),
    "mail": ("mail", "post", "letter"),
    "writing": ("writing tool", "something to write with", "stationery"),
    "office": ("office supplies", "office", "stationery"),
    "lock": ("lock", "security"),
    "tool": ("tool", "weapon or tool", "hardware"),
    "science": ("science", "laboratory equipment", "scientific instrument"),
    "medical": ("medicine", "medical", "health care"),
    "household": ("household item", "something in the house", "furniture or household"),
    "other-object": ("object",),
    "transport-sign": ("public sign", "sign", "information sign"),
    "warning": ("warning sign", "prohibition sign", "sign"),
    "religion": ("religious symbol", "religion"),
    "zodiac": ("zodiac sign", "star sign", "astrology"),
    "gender": ("gender symbol",),
    "math": ("mathematics", "math symbol", "arithmetic"),
    "punctuation": ("punctuation mark", "punctuation"),
    "currency": ("currency", "money sign"),
    "other-symbol": ("symbol",),
    "geometric": ("shape", "geometric shape", "coloured shape", "colored shape"),
    "flag": ("flag",),
}
"""Everyday words for emojibase's groups and subgroups; written by hand."""

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "grey",
)

NO_ARTICLE = {
    "bacon",
    "badminton",
    "baggage claim",
    "biohazard",
    "bowling",
    "bread",
    "breast-feeding",
    "broccoli",
    "building construction",
    "butter",
    "camping",
    "candy",
    "canned food",
    "chart decreasing",
    "chart increasing",
    "chart increasing with yen",
    "collision",
    "construction",
    "cooked rice",
    "cooking",
    "copyright",
    "coral",
    "curry rice",
    "customs",
    "dango",
    "dashing away",
    "divide",
    "dizzy",
    "dna",
    "field hockey",
    "fire",
    "flatbread",
    "fog",
    "foggy",
    "fried shrimp",
    "garlic",
    "high voltage",
    "horse racing",
    "ice",
    "ice cream",
    "ice hockey",
    "infinity",
    "lacrosse",
    "left luggage",
    "light rail",
    "locked",
    "locked with key",
    "locked with pen",
    "luggage",
    "mate",
    "meat on bone",
    "minus",
    "money with wings",
    "mount fuji",
    "multiply",
    "nail polish",
    "non-potable water",
    "oden",
    "palms up together",
    "passport control",
    "people hugging",
    "people wrestling",
    "performing arts",
    "ping pong",
    "plus",
    "popcorn",
    "potable water",
    "pouring liquid",
    "prohibited",
    "radioactive",
    "registered",
    "rolling on the floor laughing",
    "sake",
    "salt",
    "shaved ice",
    "skis",
    "skull and crossbones",
    "soap",
    "soft ice cream",
    "spaghetti",
    "star-struck",
    "sushi",
    "tennis",
    "thread",
    "unlocked",
    "wood",
    "yarn",
    "zzz",
}
"""Names that take no indefinite article though they look singular."""

MIRROR_SENSITIVE = re.compile(
    r"left|right|zodiac|first quarter|last quarter|wax|wan|question|"
    r"letter|score|sign|clock|watch|chart|tilted|math|hundred|ZZZ|dvd|"
    r"stop|ATM|X-ray|medal|calendar|pool 8|copyright|registered|trade"
)
"""Concepts whose mirror image is another thing, or shows mirrored lettering."""


@dataclass(frozen=True)
class Caption:
    """A text and the concepts it may stand for, with weights that sum to one."""

    text: str
    owners: tuple[int, ...]
    weights: tuple[float, ...]


def article(name: str) -> str:
    """The name as one would say it: "a bicycle", "an owl", "glasses", "the Statue of Liberty"."""
    last = name.split()[-1].lower()
    head = re.split(r" (?:with|on|of|in|over|behind|at|showing|facing) ", name)[0].lower()
    if name in {"Statue of Liberty", "kaaba", "milky way"}:
        return f"the {name}"
    proper = name[0].isupper() and not re.match(r"^(OK|ATM|T-Rex|Japanese|Christmas)", name)
    plural = re.search(r"[^sui]s$", head) and not re.search(
        r"(lens|bus|compass|cross|glass)$", head
    )
    if re.match(r"(person|face|sheaf|rhinoceros)\b", name):
        return f"a {name}"
    people = re.search(r"(men|women|people|dice|feet|teeth)$", head) and head != "specimen"
    bare = name.lower() in NO_ARTICLE or name.startswith("no ")
    if proper or plural or people or bare or last == "rice":
        return name
    if re.match(r"^(eu|ew|uni|one|use|u-)", name.lower()):
        return f"a {name}"
    return f"an {name}" if re.match(r"^[aeiou]|^x-|^8|^hour", name.lower()) else f"a {name}"


def plural(name: str) -> str:
    """A rough English plural of the last word."""
    if re.search(r"([^s]s|people|men)$", name):
        return name
    if re.search(r"(s|x|ch|sh)$", name):
        return name + "es"
    return name[:-1] + "ies" if re.search(r"[^aeiou]y$", name) else name + "s"


def colour_words(rgba: NDArray[np.uint8]) -> list[str]:
    """Names of colours that cover more than 35 % of the drawing."""
    small = rgba[::6, ::6].reshape(-1, 4)
    pixels = small[small[:, 3] > 200][:, :3] / 255.0
    if not len(pixels):
        return []
    counts: dict[str, int] = {}
    for red, green, blue in pixels:
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        degrees = hue * 360
        if value < 0.22:
            word = "black"
        elif saturation < 0.15:
            word = "white" if value > 0.88 else "grey"
        elif (degrees < 45 and value < 0.65) or (
            degrees < 30 and value < 0.75 and saturation < 0.7
        ):
            word = "brown"
        elif degrees < 16 or degrees >= 345:
            word = "red" if saturation > 0.55 else "pink"
        elif degrees < 40:
            word = "orange"
        elif degrees < 68:
            word = "yellow"
        elif degrees < 165:
            word = "green"
        elif degrees < 255:
            word = "blue"
        elif degrees < 295:
            word = "purple"
        else:
            word = "pink"
        counts[word] = counts.get(word, 0) + 1
    return [word for word, count in counts.items() if count > 0.35 * len(pixels)]


def keywords(concept: Concept, frequency: dict[str, int], limit: int = 4) -> list[str]:
    """The tags that say most to a reader: shared by some concepts, not part of the name."""
    said = set(re.findall(r"[a-z0-9]+", concept.name.lower()))
    fresh = [tag for tag in concept.tags if not set(re.findall(r"[a-z0-9]+", tag.lower())) & said]
    shared = [tag for tag in fresh if 2 <= frequency[tag] <= 80] or fresh
    return sorted(shared, key=lambda tag: (-frequency[tag], tag))[:limit]


class CaptionWriter:
    """Draws training captions for concepts; the same random source gives the same captions."""

    def __init__(self, concepts: Sequence[Concept]) -> None:
        self.concepts = concepts
        self.by_tag: dict[str, list[int]] = {}
        self.by_phrase: dict[str, list[int]] = {}
        self.by_name = {concept.name.lower(): i for i, concept in enumerate(concepts)}
        for number, concept in enumerate(concepts):
            for tag in concept.tags:
                self.by_tag.setdefault(tag, []).append(number)
            for part in (concept.group, concept.subgroup):
                for phrase in CATEGORIES.get(part, ()):
                    owners = self.by_phrase.setdefault(phrase, [])
                    if not owners or owners[-1] != number:
                        owners.append(number)
        self.frequency = {tag: len(owners) for tag, owners in self.by_tag.items()}

    def describe(self, number: int) -> str:
        """The caption of a sample: "a bicycle: bike, cycling, vehicle"."""
        concept = self.concepts[number]
        tags = keywords(concept, self.frequency)
        return article(concept.name) + (f": {', '.join(tags)}" if tags else "")

    def write(self, number: int, colours: Sequence[str], rng: random.Random) -> Caption:
        """One caption for a drawing of the concept."""
        concept = self.concepts[number]
        name = concept.name
        kind = rng.random()
        if kind < 0.30:
            return Caption(name, (number,), (1.0,))
        if kind < 0.50:
            return Caption(rng.choice(TEMPLATES).format(article(name)), (number,), (1.0,))
        if kind < 0.55 and colours and not any(colour in name for colour in COLOURS):
            coloured = f"{rng.choice(colours)} {name}"
            text = coloured if rng.random() < 0.4 else article(coloured)
            return Caption(text, (number,), (1.0,))
        if kind < 0.59:
            amount = rng.choice(("{}", "{}", "many {}", "some {}", "two {}"))
            return Caption(amount.format(plural(name)), (number,), (1.0,))
        tags = list(concept.tags)
        if kind < 0.70 and tags:
            some = rng.sample(tags, min(len(tags), rng.randint(1, 5)))
            text = rng.choice(("{}: {}", "{}, {}", "{} ({})"))
            said = rng.choice((name, article(name)))
            return Caption(text.format(said, ", ".join(some)), (number,), (1.0,))
        if kind < 0.74:
            return Caption(self.describe(number), (number,), (1.0,))
        if kind < 0.92 and tags:
            return self.from_tags(
                number, rng.sample(tags, min(len(tags), rng.choice((1, 1, 2, 3)))), rng
            )
        return self.from_category(concept, rng)

    def from_tags(self, number: int, tags: list[str], rng: random.Random) -> Caption:
        """Keywords alone; they stand for every concept that has all of them."""
        owners = sorted(set.intersection(*(set(self.by_tag[tag]) for tag in tags)))
        weights = {owner: 1.0 / len(owners) for owner in owners}
        named = self.by_name.get(tags[0].lower()) if len(tags) == 1 else None
        if named is not None:  # "dog" is foremost the dog, then all that are tagged so
            weights = {owner: weight / 2 for owner, weight in weights.items()}
            weights[named] = weights.get(named, 0.0) + 0.5
        joined = rng.choice((" ", ", ")).join(tags)
        if len(tags) == 1:
            joined = rng.choice((joined, joined, joined, plural(joined), article(joined)))
        return Caption(joined, tuple(weights), tuple(weights.values()))

    def from_category(self, concept: Concept, rng: random.Random) -> Caption:
        """A word for the kind of thing; it stands for all of the kind."""
        narrow = CATEGORIES.get(concept.subgroup, ()) if rng.random() < 0.75 else ()
        phrase = rng.choice(narrow or CATEGORIES[concept.group])
        owners = self.by_phrase[phrase]
        named = self.by_name.get(phrase)
        weights = dict.fromkeys(owners, 1.0 / len(owners))
        if named is not None:
            weights = {owner: weight / 2 for owner, weight in weights.items()}
            weights[named] = weights.get(named, 0.0) + 0.5
        text = rng.choice((phrase, phrase, article(phrase), f"a picture of {article(phrase)}"))
        return Caption(text, tuple(weights), tuple(weights.values()))
