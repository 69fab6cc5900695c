"""The material of the study `mini-lvis`: sets with exact masks, image labels, and a pretrained backbone.

python benchmarks/mini_lvis_material.py --out DIR [--seed 0] [--no-backbone]

What lies where, `mini_lvis/sets.py` says; `backbone/` is torchvision's ResNet-18, trained to tell the objects
of `pretrain/` apart: a detector need not begin with random numbers, as one for LVIS begins with ImageNet's.
`sheets/` has a picture to look at of each set.
"""

import argparse
import time
from pathlib import Path

from mini_lvis.backbone import train_backbone
from mini_lvis.sets import write_material
from mini_lvis.sheets import write_sheets


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-backbone", action="store_true", help="only the sets")
    arguments = parser.parse_args()
    began = time.perf_counter()
    told = write_material(arguments.out, arguments.seed)
    for name, part in told["parts"].items():
        print(f"{name:<10}{part['images']:>6} images {part['objects']:>6} objects")
    write_sheets(arguments.out)
    print(f"made in {time.perf_counter() - began:.1f} s")
    if not arguments.no_backbone:
        record = train_backbone(arguments.out, arguments.seed)
        print(f"backbone: {record}")


if __name__ == "__main__":
    main()
