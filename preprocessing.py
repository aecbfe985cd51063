"""Stage 1: from the media of a data set to CNN descriptors on disk.

    python preprocessing.py --dataset Flickr8k
    python preprocessing.py --dataset MSR-VTT --set cnn=efficientnet_lite0
    python preprocessing.py --dataset MSR-VTT --set cnn_weights=inception_v3.weights.h5

One .npy a medium, under DATA/descriptors/<data set>/: a video's 26 frames, each pooled over the CNN's last grid
[26, D]; an image's grid [8, 8, D]. Where training is to see single regions too (single_region_share, as for Demo), a
video has a second file with some of its regions. A second run computes only what is missing. A file that cannot be
read is recorded in `failures.json` there, with the reason, and the rest goes on. Demo is generated first, if it is not
there.
"""

import argparse
import time

import cfg
from system import device, errors


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser)
    device.add_arguments(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    config = cfg.from_arguments(args)

    import data_loader
    from datasets import annotations
    from vision import descriptors

    if config.dataset == "Demo":
        from datasets.demo import clips as demo_clips

        if not demo_clips.is_complete(config.data_dir):
            demo_clips.generate(config.data_dir)
    annotations.read_media(config)  # a wrong layout is told at once, before TensorFlow starts
    device.start_tensorflow(args.gpu)
    start = time.perf_counter()
    n_stored, failures = descriptors.preprocess(config)
    print(
        f"{config.dataset}: {n_stored} media stored in {time.perf_counter() - start:.0f} s, {len(failures)} failures; "
        f"descriptors: {config.descriptors_dir}"
    )
    for media_id, reason in list(failures.items())[:5]:
        print(f"  {media_id}: {reason}")
    if failures:
        print(f"  all reasons: {config.descriptors_dir / data_loader.FAILURES}")
    settings = "".join(f" --set {assignment}" for assignment in args.set)
    print(f"next: python run_s2vt.py --dataset {config.dataset} --train{settings}")


if __name__ == "__main__":
    errors.run(main)
