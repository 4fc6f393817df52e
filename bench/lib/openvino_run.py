# SPDX-License-Identifier: MIT
"""OpenVINO GenAI on a GGUF file: what its own metrics tell, as JSON. Runs in the peer's own venv.

Usage: openvino_run.py MODEL THREADS PROMPT_TOKENS NEW_TOKENS REPETITIONS
"""

import json
import statistics
import sys

import numpy
import openvino
import openvino_genai


def main():
    model = sys.argv[1]
    threads, prompt, new, repetitions = map(int, sys.argv[2:])
    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    prefill, decode = [], []
    # The first, 0, does not count; no two prompts begin alike.
    for run in range(repetitions + 1):
        ids = (numpy.arange(prompt, dtype=numpy.int64) * 7919 + run * 104729 + 100) % 10000
        result = pipeline.generate(openvino.Tensor(ids.reshape(1, -1)), max_new_tokens=new,
                                   ignore_eos=True, do_sample=False)
        metrics = result.perf_metrics
        if run > 0:
            prefill.append(prompt * 1e3 / metrics.get_ttft().mean)
            if new > 1:
                decode.append(1e3 / metrics.get_tpot().mean)
    print(json.dumps({"prefill": statistics.median(prefill),
                      "decode": statistics.median(decode) if decode else None}))


if __name__ == "__main__":
    main()
