"""Train the miniature models from the shipped objects, and write them into the package.

Every part is resumable: kill it at any time and run the same command again.
"""

import argparse
from pathlib import Path

import torch

from xpaste_ray.categories import display_name, lvis_categories
from xpaste_ray.embedded import CLIP_DIR, DIFFUSION_DIR
from xpaste_ray.embedded.train.clip import TEMPLATES, export_clip, sharpen_clip, train_clip
from xpaste_ray.embedded.train.diffusion import export_diffusion, text_tower, train_unet
from xpaste_ray.embedded.train.tokenizer import build_tokenizer
from xpaste_ray.embedded.train.vae import train_vae


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m xpaste_ray.embedded.train", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/embedded-train"), help="checkpoints (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument(
        "--only", choices=("clip", "vae"), help="train one part that depends on no other, and stop"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train_all(options.work / f"seed-{options.seed}", options.seed, options.only)


def train_all(work_dir: Path, seed: int, only: str | None = None) -> None:
    """CLIP and the autoencoder first (`only` one of them: they can train side by side), then the UNet."""
    tokenizer = build_tokenizer(_tokenizer_texts(), work_dir / "tokenizer")
    if only == "vae":
        train_vae(seed, work_dir)
        return
    clip = train_clip(tokenizer, seed, work_dir)
    tower = text_tower(clip)
    clip = sharpen_clip(clip, tokenizer, seed, work_dir)
    if only == "clip":
        return
    vae = train_vae(seed, work_dir)
    unet = train_unet(vae, tower, tokenizer, seed, work_dir)
    export_clip(clip, tokenizer, work_dir / "tokenizer", CLIP_DIR)
    export_diffusion(vae, tower, unet, work_dir / "tokenizer", DIFFUSION_DIR)


def _tokenizer_texts() -> list[str]:
    """Names weigh more than definitions, and the templates' words most: they must be single tokens."""
    names = [display_name(category.name) for category in lvis_categories()]
    synonyms = [display_name(word) for category in lvis_categories() for word in category.synonyms]
    definitions = [category.definition for category in lvis_categories()]
    return names * 4 + [template.format(name="") for template in TEMPLATES] * 50 + definitions + synonyms


if __name__ == "__main__":
    main()
