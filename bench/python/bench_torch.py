"""How fast PyTorch is at what Patchclamp does, on the same weights: transformers, and TransformerLens where installed.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, gguf 0.19.0, TransformerLens 4.3.0.
`python bench_torch.py --gguf FILE [--threads 2] [--runs 9]` prints JSON, in milliseconds unless a name says
otherwise. Token i of the prompt is (i * 7919 + 13) mod the vocabulary's size. Weights are dequantised to float32;
attention is "eager" throughout, so that scores and patterns exist to be recorded.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "test" / "fixtures" / "models"
PROMPT, DECODED = 128, 32


def measure(functions, runs, warm_ups=2):
    """Milliseconds of each named function, in turns, so that a busy moment of the machine falls on all alike."""
    seconds = {name: [] for name in functions}
    for turn in range(warm_ups + runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn >= warm_ups:
                seconds[name].append(time.perf_counter() - start)
    return {name: summary([1000 * value for value in values]) for name, values in seconds.items()}


def summary(values):
    return {
        "median": round(statistics.median(values), 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
    }


def matrix_gigaflops(size=2048):
    """What the machine gives now: a float32 product of two square matrices. Compare numbers only beside this one."""
    import torch

    a, b = torch.rand(size, size), torch.rand(size, size)
    milliseconds = measure({"product": lambda: a @ b}, 7)["product"]["median"]
    return round(2 * size**3 / milliseconds / 1e6, 1)


def load(path, threads):
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    sys.path.insert(0, str(FIXTURES))
    from llama_gguf import read_gguf

    return read_gguf(path)[0]


def prompt_ids(model):
    import torch

    return torch.tensor([[(i * 7919 + 13) % model.config.vocab_size for i in range(PROMPT)]])


def bench_transformers(model, runs):
    ids = prompt_ids(model)

    def decode():
        """Milliseconds a token, with transformers' own cache of the 128 tokens before."""
        step = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        start = time.perf_counter()
        for _ in range(DECODED):
            step = model(input_ids=step.logits[:, -1:].argmax(-1), cache=step.cache, use_cache=True)
        return (time.perf_counter() - start) * 1000 / DECODED

    decode()
    return {
        **measure({"prefill128": lambda: model(input_ids=ids, use_cache=False)}, runs),
        "decodePerToken": summary([decode() for _ in range(5)]),
    }


def bench_gradient(model, runs):
    """The gradient of one logit at every layer's output, weights frozen: as people write it, and with one row of logits."""
    import torch

    ids = prompt_ids(model)
    kept = []

    def start(module, arguments, output):
        return output.requires_grad_(True)

    def keep(module, arguments, output):
        kept.append(output[0] if isinstance(output, tuple) else output)

    def gradient(**options):
        kept.clear()
        with torch.enable_grad():
            logits = model(input_ids=ids, use_cache=False, **options).logits
            return torch.autograd.grad(logits[0, -1, 7042], kept)

    handles = [model.model.embed_tokens.register_forward_hook(start)]
    handles += [layer.register_forward_hook(keep) for layer in model.model.layers]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    found = gradient()
    assert len(found) == model.config.num_hidden_layers and all(g.abs().sum() > 0 for g in found)
    variants = {"gradient": gradient, "gradientOfLastRow": lambda: gradient(logits_to_keep=1)}
    times = measure(variants, runs)
    for handle in handles:
        handle.remove()
    return times


def boot_bridge(model):
    """TransformerLens around the same module: the name is a label, nothing is looked up anywhere."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        "local/smollm2", hf_model=model, tokenizer=blank_tokenizer(model), device="cpu"
    )


def blank_tokenizer(model):
    """The bridge asks for a tokenizer; only ids are fed here. (With a bos token it would look one up by name.)"""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    size = model.config.vocab_size
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(size)}, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t2", pad_token="t2", unk_token="t0")


def bench_bridge(model, runs):
    import torch

    ids = prompt_ids(model)
    expected = model(input_ids=ids, use_cache=False).logits
    bridge = boot_bridge(model)
    some = [
        f"blocks.{i}.{hook}"
        for i in range(model.config.num_hidden_layers)
        for hook in ("hook_resid_post", "attn.hook_pattern")
    ]
    found = bridge.run_with_cache(ids, names_filter=some)[1]
    everything = bridge.run_with_cache(ids)[1]
    difference = (bridge(ids) - expected).norm() / expected.norm()
    assert difference < 1e-5, difference
    assert all(isinstance(value, torch.Tensor) for value in found.values()) and len(found) >= len(some)
    variants = {
        "plain": lambda: bridge(ids),
        "residualsAndPatterns": lambda: bridge.run_with_cache(ids, names_filter=some),
        "all": lambda: bridge.run_with_cache(ids),
    }
    return {
        **measure(variants, runs),
        "cached": {"residualsAndPatterns": len(found), "all": len(everything)},
        "differenceFromTransformers": float(difference),
    }


def first_activation(path, threads):
    """In a fresh process: from its first import to the first activation; reading the weights is stated apart."""
    start = time.perf_counter()
    import torch  # noqa: F401
    import transformers  # noqa: F401
    from transformer_lens.model_bridge import TransformerBridge  # noqa: F401

    imported = time.perf_counter()
    model = load(path, threads)
    loaded = time.perf_counter()
    bridge = boot_bridge(model)
    cache = bridge.run_with_cache(prompt_ids(model)[:, :5], names_filter=["blocks.0.hook_resid_post"])[1]
    assert "blocks.0.hook_resid_post" in cache
    end = time.perf_counter()
    return {
        "importSeconds": round(imported - start, 2),
        "weightsSeconds": round(loaded - imported, 2),
        "bootAndRunSeconds": round(end - loaded, 2),
        "totalSeconds": round(end - start, 2),
    }


def in_fresh_process(options):
    command = [
        sys.executable,
        __file__,
        "--gguf",
        str(options.gguf),
        "--threads",
        str(options.threads),
        "--first-activation",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def version_of(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--gguf", required=True, type=Path)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--runs", type=int, default=9)
    arguments.add_argument("--first-activation", action="store_true", help="only the time to a first activation")
    options = arguments.parse_args()
    if options.first_activation:
        print(json.dumps(first_activation(options.gguf, options.threads)))
        return
    packages = ("torch", "transformers", "transformer-lens", "gguf")
    result = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": options.threads,
        },
        "versions": {"python": platform.python_version()} | {name: version_of(name) for name in packages},
        "model": options.gguf.name,
        "tokens": f"(i * 7919 + 13) mod vocabulary, i < {PROMPT}",
        "runs": options.runs,
        "loadAtStart": os.getloadavg()[0],
    }
    model = load(options.gguf, options.threads)
    result["machine"]["matrixGigaflops"] = matrix_gigaflops()
    result["transformers"] = bench_transformers(model, options.runs) | bench_gradient(model, options.runs)
    if version_of("transformer-lens"):
        result["transformerLens"] = bench_bridge(model, options.runs)
        result["transformerLens"]["firstActivation"] = in_fresh_process(options)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
