"""Translation of Multi30k, English to German: quality on test 2016, promises of the search, and speed, all through the
commands.

    python benchmarks/translation.py [--recipe=multi30k_en_de] [--train_seconds=S] [--model_dir=TRAINED] [--write]

With --model_dir nothing is trained; the dataset is prepared anew either way. Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from own_command import command
from results import machine, table, write_section

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "multi30k"
SEARCH = ("--beam_size=5",)
GREEDY = ("--beam_size=1", "--length_penalty=0")
BATCH_SIZES = (256, 64, 7, 1)
VOCABULARY = 8000
TITLE = "Translation, Multi30k English to German"


def prepare(data: Path) -> None:
    splits = {"input": "train", "validation_input": "val", "test_input": "test_2016_flickr"}
    files = [f"--{flag}={DATA}/{name}.en,{DATA}/{name}.de" for flag, name in splits.items()]
    vocabulary = ["--tokenizer=sentencepiece", f"--vocab_size={VOCABULARY}", "--joint_vocabulary"]
    command("prepare", "--task=seq2seq", "--source=pairs", *files, *vocabulary, f"--output_dir={data}")


def check_search(export_dir: Path) -> dict[str, Any]:
    """Translates test 2016 in batches of several sizes and greedily, and times single greedy requests."""
    sys.path.insert(0, str(ROOT))
    from trainer.cli import flags
    from trainer.saved_model.loaded import find_version, load, read_contract
    from trainer.tasks.configurations import PredictConfig
    from trainer.tasks.seq2seq.predict import translate

    path = find_version(str(export_dir))
    contract = read_contract(path)
    model = load(str(path), contract)
    sentences = (DATA / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()

    def run(decoding: str, batch_size: int) -> tuple[list[str], np.ndarray, float]:
        choices = [f"--decoding={decoding}", f"--batch_size={batch_size}"]
        config = flags.parse(PredictConfig, [f"--export_dir={export_dir}", "--input=-", *choices])
        translate(model, contract, sentences[:1], config)  # the first call prepares the graph
        started = time.perf_counter()
        best = [each[0] for each in translate(model, contract, sentences, config)]
        return [one["text"] for one in best], np.array([one["score"] for one in best]), time.perf_counter() - started

    beams = {size: run("beam", size) for size in BATCH_SIZES}
    _, greedy_scores, greedy_seconds = run("greedy", BATCH_SIZES[0])
    texts, scores, _ = beams[BATCH_SIZES[0]]
    return {
        "sentences": len(sentences),
        "beam_seconds": {size: round(seconds, 2) for size, (*_, seconds) in beams.items()},
        "greedy_seconds": round(greedy_seconds, 2),
        "least_beam_over_greedy": float((scores - greedy_scores).min()),
        "beam_better_share": float((scores > greedy_scores + 1e-4).mean()),
        "texts_changed_by_batch_size": sum(a != b for other, *_ in beams.values() for a, b in zip(texts, other)),
        "largest_score_change": max(float(np.abs(scores - other).max()) for _, other, _ in beams.values()),
        **latency(model, sentences),
    }


def latency(model: Any, sentences: list[str]) -> dict[str, float]:
    """Milliseconds of one sentence at a time through the signature `greedy`: median and 99th percentile."""
    import tensorflow as tf

    greedy = model.signatures["greedy"]
    for sentence in sentences[:20]:
        greedy(text=tf.constant([sentence]))
    times = []
    for sentence in sentences:
        started = time.perf_counter()
        greedy(text=tf.constant([sentence]))["translation"].numpy()
        times.append(1e3 * (time.perf_counter() - started))
    return {"greedy_p50_ms": float(np.percentile(times, 50)), "greedy_p99_ms": float(np.percentile(times, 99))}


def report(
    trained: dict[str, Any], beam: dict[str, float], greedy: dict[str, float], predicted: float, checked: dict[str, Any]
) -> str:
    quality = table(
        ["search", "BLEU", "BLEU, lower-cased", "chrF", "token accuracy"],
        [
            [
                name,
                *(f"{scores[key]:.2f}" for key in ("bleu", "bleu_lower_tokens", "chrf")),
                f"{scores['token_accuracy']:.4f}",
            ]
            for name, scores in (("beam 5", beam), ("greedy", greedy))
        ],
    )
    seconds = ", ".join(f"{value} at batch {size}" for size, value in checked["beam_seconds"].items())
    training = f"{trained['train_seconds']:.0f} s of training, {trained['step']} steps" if trained else "a model given"
    return f"""\
`python benchmarks/translation.py` on {machine()}; {training}. Test 2016, {checked["sentences"]} sentences, read once:

{quality}

Beam 5 through `trainer.predict`: {predicted:.1f} s for all sentences, preparing the graph included. \
Once that is done {seconds};
greedy {checked["greedy_seconds"]} s.
One sentence, greedy, through the SavedModel: \
p50 {checked["greedy_p50_ms"]:.1f} ms, p99 {checked["greedy_p99_ms"]:.1f} ms.
Score of beam 5 less that of greedy, the least of all sentences: {checked["least_beam_over_greedy"]:.2g}; \
beam 5 is better in \
{100 * checked["beam_better_share"]:.1f}% of them. Batch sizes {", ".join(map(str, BATCH_SIZES))}: \
{checked["texts_changed_by_batch_size"]} translations differ, \
largest difference of a score {checked["largest_score_change"]:.1g}."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="multi30k_en_de")
    parser.add_argument("--train_seconds", type=float, help="instead of the recipe's")
    parser.add_argument("--model_dir", help="a model that is trained already, on the same preparation")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not here: this benchmark needs the public data set Multi30k")
    with tempfile.TemporaryDirectory() as work:
        data, model, export = (
            Path(work) / "data",
            Path(arguments.model_dir or f"{work}/model").resolve(),
            Path(work) / "export",
        )
        prepare(data)
        trained: dict[str, Any] = {}
        if not arguments.model_dir:
            flagfile = f"--flagfile={ROOT}/trainer/recipes/{arguments.recipe}.flags"
            budget = [f"--train_seconds={arguments.train_seconds}"] if arguments.train_seconds else []
            trained = command("train", flagfile, f"--data_dir={data}", f"--model_dir={model}", *budget)
        scored = [f"--model_dir={model}", f"--data_dir={data}", "--split=test"]
        beam, greedy = (command("evaluate", *scored, *search)["metrics"] for search in (SEARCH, GREEDY))
        command("export", f"--model_dir={model}", f"--export_dir={export}", *SEARCH)
        files = [f"--input={DATA}/test_2016_flickr.en", f"--output={work}/out.de"]
        predicted = command("predict", f"--export_dir={export}", *files)["seconds"]
        checked = check_search(export)
    body = report(trained, beam, greedy, predicted, checked)
    print(body)
    if arguments.write:
        write_section(TITLE, body)
    print(json.dumps({"metrics": beam, "greedy_metrics": greedy, "predict_seconds": predicted, **checked}))


if __name__ == "__main__":
    main()
