"""A small captioner of random weights, written by one version of the program for itself.

    python benchmarks/small_captioner.py EXPERIMENT PROGRAM WORD ...

PROGRAM is the folder of that version, EXPERIMENT the folder that it writes; H 256, and the words among 2,000 that the
captioner knows. It asks for EfficientNet-lite0.
"""

import sys
from types import SimpleNamespace

N_WORDS, DIM_IMAGE = 2000, 1280


def main(experiment, program, *words):
    sys.path[0] = program
    import cfg
    import data_loader
    from captioner import checkpoint

    words = list(dict.fromkeys(words))
    words += [f"word{k}" for k in range(N_WORDS - 1 - len(words))]
    config = cfg.override(
        cfg.DATASETS["MSR-VTT"], ["cnn=efficientnet_lite0", "dim_hidden=256", f"experiment={experiment}"]
    )
    vocabulary = data_loader.Vocabulary([".", *words])
    model = checkpoint.build_model(config, vocabulary, DIM_IMAGE)
    checkpoint.save(experiment, 1, config, vocabulary, model, SimpleNamespace(variables=[]), {})


if __name__ == "__main__":
    main(*sys.argv[1:])
