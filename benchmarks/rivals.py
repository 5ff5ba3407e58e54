"""`pipeline ingest` against other people's loops on a CPU: `python -m benchmarks.rivals`.

Ours is the whole command, database included. The rivals write no database: `transformers`' own
CLIP loop, `sentence-transformers`' and `infinity-emb`'s engine keep their embeddings in memory,
`clip-retrieval inference` writes .npy files. All are processes of their own with the same
random-weight ViT-B-32, which costs as much as a trained one, and the same files; they run one after
the other and in turns with ``--rounds``.

Nothing is timed before `transformers` gives the embeddings of OpenCLIP, and no figure of the
others is printed unless they give them, too. `--sentence-transformers` and `--infinity-emb` take
the python of an environment that has them.

`clip-retrieval` needs an environment of its own (benchmarks/README.md), whose python goes to
``--clip-retrieval``. It takes OpenCLIP's checkpoint as it is: after ``open_clip:ViT-B-32/`` it
passes on what would be a tag, and OpenCLIP accepts a path there. Batches of 256 and 4 workers are
its defaults.

Of each, two figures: the run alone (ours without loading the model, `clip-retrieval`'s by its own
statistics: reading, inference, writing to memory) and the whole process. Where a rival gets a part
of the inputs, its whole process is what it needs beside the run, and all inputs at its rate.
`clip-retrieval` also warms up, with two batches of 256 images and two of 256 texts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks import transformers_checkpoint, transformers_loop
from benchmarks.embedder import ARCHITECTURE
from benchmarks.end_to_end import activate, ingest, photographs
from benchmarks.harness import captions, database, say
from benchmarks.other_loops import LOOPS

CHECKED = 16  # inputs whose embeddings are compared
LEAST_COSINE = 0.9999
CLIP_RETRIEVAL_MOST = 4 * 256  # inputs: four of its batches, one for each of its workers


@dataclass(frozen=True)
class Run:
    """A rival's process over a part of the inputs: its run, and all else it does, in seconds."""

    rows: int
    seconds: float
    beside: float

    def whole_seconds(self, rows: int) -> float:
        return self.beside + rows * self.seconds / self.rows


class Reference:
    """OpenCLIP in float32: who makes the checkpoint and says what its embeddings are."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model, _, self._transform = open_clip.create_model_and_transforms(ARCHITECTURE)
        self.model.eval()
        self._tokenizer = open_clip.get_tokenizer(ARCHITECTURE)

    def embed(self, modality: str, paths: Sequence[Path]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            if modality == "image":
                pixels = torch.stack([self._transform(Image.open(path)) for path in paths])
                features = self.model.encode_image(pixels)
            else:
                tokens = self._tokenizer([path.read_text() for path in paths])
                features = self.model.encode_text(tokens)
            rows: npt.NDArray[np.float32] = torch.nn.functional.normalize(features, dim=-1).numpy()
        return rows

    def check(self, modality: str, paths: Sequence[Path], theirs: npt.NDArray[Any]) -> float:
        """The least cosine between these rows and OpenCLIP's, both without OpenCLIP's mean.

        Random weights give all images nearly the same embedding: with the mean, even a wrong
        activation function has a cosine of 1.0000.

        Raises:
            ValueError: they are not the same model, or not fed the same.
        """
        ours = self.embed(modality, paths)
        a, b = ours - ours.mean(axis=0), theirs.astype(np.float32) - ours.mean(axis=0)
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        least = float((np.sum(a * b, axis=1) / norms).min())
        if not least >= LEAST_COSINE:
            raise ValueError(f"{modality} embeddings differ from OpenCLIP's: cosine {least:.5f}")
        return least


def run_transformers(modality: str, checkpoint: Path, inputs: Path) -> Run:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.transformers_loop", modality, checkpoint, inputs],
        stdout=subprocess.PIPE,
        check=True,
    )
    process = time.perf_counter() - began
    report = json.loads(done.stdout)
    seconds = report["seconds"]
    return Run(report["rows"], seconds, process - seconds - report["warm_up_seconds"])


def run_other(
    python: str, name: str, modality: str, checkpoint: Path, inputs: Path, output: Path
) -> tuple[Run, npt.NDArray[Any]]:
    """With the first embeddings, rows in the order of the files' names."""
    began = time.perf_counter()
    done = subprocess.run(
        [python, "-m", "benchmarks.other_loops", name, modality, checkpoint, inputs, output],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        check=True,
    )
    process = time.perf_counter() - began
    report = json.loads(done.stdout.splitlines()[-1])
    seconds = report["seconds"]
    run = Run(report["rows"], seconds, process - seconds - report["warm_up_seconds"])
    return run, np.load(output)


def run_clip_retrieval(
    python: str, modality: str, weights: Path, inputs: Path, output: Path
) -> tuple[Run, npt.NDArray[np.float16]]:
    """With the embeddings, rows in the order of the files' names."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [python, "-m", "clip_retrieval.cli", "inference", str(inputs), str(output)]
    command += [f"--clip_model=open_clip:{ARCHITECTURE}/{weights}"]
    command += [f"--enable_image={modality == 'image'}", f"--enable_text={modality == 'text'}"]
    began = time.perf_counter()
    subprocess.run(command, env=environment, cwd=inputs, stdout=sys.stderr, check=True)
    process = time.perf_counter() - began
    statistics = json.loads((output / "stats" / "0.json").read_text())
    seconds = statistics["total_duration"]
    folder = {"image": "img_emb", "text": "text_emb"}[modality]
    embeddings = np.load(output / folder / f"{folder}_0.npy")
    return Run(statistics["sample_count"], seconds, process - seconds), embeddings


def compare(
    name: str, modality: str, run: Run, agreement: float, count: int, ours: dict[str, Any]
) -> dict[str, Any]:
    per_second = run.rows / run.seconds
    whole = run.whole_seconds(count)
    return {
        "rival": name,
        "modality": modality,
        "rows": count,
        "precision": ours["precision"],
        "per_second": ours["rows_per_second"],
        "whole_process_seconds": ours["process_seconds"],
        "rival_rows": run.rows,
        "rival_precision": "float32",
        "rival_per_second": round(per_second, 1),
        "rival_whole_process_seconds": round(whole, 1),
        "rival_seconds_beside_the_run": round(run.beside, 1),
        "ratio": round(ours["rows_per_second"] / per_second, 2),
        "ratio_of_whole_processes": round(whole / ours["process_seconds"], 2),
        "agreement": round(agreement, 6),
    }


def part(folder: Path, paths: Sequence[Path]) -> Path:
    """A folder with these files alone."""
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path)
    return folder


def text_files(folder: Path, texts: Sequence[str]) -> list[Path]:
    paths = [folder / f"{number:05}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


def measure(
    modality: str,
    count: int,
    plain: int,
    rounds: int = 1,
    clip_retrieval: str | None = None,
    precision: str = "auto",
    others: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """One row of figures per round and rival; ``plain`` inputs for `transformers`' loop.

    Args:
        others: names of ``other_loops.LOOPS``, each with the python that has the library.
    """
    rows = []
    reference = Reference()
    with tempfile.TemporaryDirectory() as name, database() as url:
        folder = Path(name).resolve()
        weights = folder / "weights.safetensors"
        save_file(reference.model.state_dict(), weights)
        transformers = folder / "transformers"
        transformers_checkpoint.save(reference.model, ARCHITECTURE, transformers)
        files = folder / "files"
        files.mkdir()
        if modality == "image":
            paths = photographs(files, count)
            references = [str(path) for path in paths]
        else:
            references = captions(count)
            paths = text_files(files, references)
        few, many = part(folder / "few", paths[:plain]), paths[: min(count, CLIP_RETRIEVAL_MOST)]
        many_folder = part(folder / "many", many)

        embed = {
            "image": transformers_loop.embed_images,
            "text": transformers_loop.embed_texts,
        }[modality]
        some = paths[:CHECKED]
        theirs = embed(*transformers_loop.load(transformers), some).numpy()
        agreement = reference.check(modality, some, theirs)
        say(f"{modality}: transformers agrees with OpenCLIP: cosine {agreement:.6f}")

        precision = activate(url, f"{ARCHITECTURE}:{weights}", precision)
        for number in range(rounds):
            say(f"{modality}, round {number + 1}: {plain} through transformers' loop ...")
            run = run_transformers(modality, transformers, few)
            say(f"{modality}, round {number + 1}: {count} through pipeline ingest ...")
            ours = ingest(url, folder, modality, references) | {"precision": precision}
            rows.append(compare("transformers", modality, run, agreement, count, ours))
            for other, python in others.items():
                say(f"{modality}, round {number + 1}: {plain} through {other} ...")
                some_of_it = folder / f"{other}-{number}.npy"
                run, embeddings = run_other(python, other, modality, transformers, few, some_of_it)
                same = reference.check(modality, some, embeddings[:CHECKED])
                rows.append(compare(other, modality, run, same, count, ours))
            if clip_retrieval:
                say(f"{modality}, round {number + 1}: {len(many)} through clip-retrieval ...")
                run, embeddings = run_clip_retrieval(
                    clip_retrieval, modality, weights, many_folder, folder / f"output-{number}"
                )
                same = reference.check(modality, some, embeddings[:CHECKED])
                rows.append(compare("clip-retrieval", modality, run, same, count, ours))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="0 leaves them out")
    parser.add_argument("--texts", type=int, default=10_000, help="0 leaves them out")
    parser.add_argument(
        "--plain", type=int, help="how many of them transformers' loop gets: 320 images, 640 texts"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--precision", default="auto", help="of ours, such as int8")
    parser.add_argument(
        "--clip-retrieval",
        metavar="PYTHON",
        help="the python of an environment with clip-retrieval; without it that rival is left out",
    )
    for name in LOOPS:
        parser.add_argument(f"--{name}", metavar="PYTHON", help="the same for this one")
    arguments = parser.parse_args()
    given = {name: getattr(arguments, name.replace("-", "_")) for name in LOOPS}
    others = {name: python for name, python in given.items() if python}
    for modality, count, most in (
        ("image", arguments.images, 320),
        ("text", arguments.texts, 640),
    ):
        if not count:
            continue
        plain = min(count, arguments.plain or most)
        for row in measure(
            modality,
            count,
            plain,
            arguments.rounds,
            arguments.clip_retrieval,
            arguments.precision,
            others,
        ):
            print(json.dumps(row), flush=True)
    for name, python in {"clip-retrieval": arguments.clip_retrieval, **given}.items():
        if not python:
            left_out = {"rival": name, "left_out": f"--{name} PYTHON was not given"}
            print(json.dumps(left_out))


if __name__ == "__main__":
    main()
