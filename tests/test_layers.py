"""Each layer imports only from those below it; checked in fresh interpreters."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "xpaste_ray"

GROUND = [
    "categories",
    "config",
    "errors",
    "fingerprints",
    "json_lists",
    "records",
    "rng",
    "storage",
    "yaml12",
]
PURE = [
    "backgrounds",
    "cache",
    "client",
    "compose.shards",
    "contexts.choice",
    "contexts.distractors",
    "contexts.given",
    "contexts.sheet",
    "contexts.texts",
    "embedded",
    "embedded.labelled",
    "embedded.layers",
    "embedded.scenes",
    "evaluation",
    "evaluation.sheet",
    "evaluation.tables",
    "evaluation.vocabulary",
    "foregrounds",
    "foregrounds.picture",
    "formats.convert",
    "formats.subset",
    "formats.validate",
    "html_report.write",
    "lease",
    "longtail",
    "masks",
    "outcomes",
    "models.cam",
    "models.classifier_files",
    "models.clip_config",
    "models.cuda",
    "models.detector_files",
    "models.detector_record",
    "models.folders",
    "models.full",
    "models.grabcut",
    "models.heads",
    "models.mask_files",
    "models.matting",
    "models.nucleus",
    "models.real_crops",
    "models.region_tree",
    "models.saliency",
    "models.segment_picture",
    "models.segmenters",
    "models.soft_masks",
    "models.superpixels",
    "models.training_images",
    "models.training_record",
    "models.views",
    "models.vocabulary",
    "overlaps",
    "pace",
    "pictures.usable",
    "pool",
    "preview",
    "prompts",
    "runs",
    "samples",
    "selection",
    "serve.app",
    "serve.bodies",
    "serve.front",
    "serve.guard",
    "serve.local",
    "serve.openapi",
    "serve.requests",
    "serve.schemas",
    "serve.served",
    "serve.service",
    "sources.annotated",
    "sources.candidates",
    "sources.diffusion",
    "sources.engines",
    "sources.folder",
    "sources.labelled",
    "sources.voc",
    "sources.webdataset",
    "sources.work_list",
    "studies",
    "studies.plots",
    "studies.tables",
    "stages.batches",
    "stages.faults",
    "stages.fetch",
    "stages.read",
    "stages.segment",
    "training",
    "training.opening",
    "unit_files",
    "web.store",
    "worker",
]
MODELS = [
    "models.classifier",
    "models.classifier_train",
    "models.captioner",
    "models.clip",
    "models.clipseg",
    "models.diffusion",
    "models.mask2former",
    "models.mask_rcnn",
    "models.resnet",
    "models.sam",
    "models.shared_norm",
    "stages.classify",
    "stages.caption",
    "stages.generate",
    "stages.score",
    "stages.score_contexts",
]


def _loaded(modules):
    """Which of torch and ray come along when the modules are imported."""
    names = [f"xpaste_ray.{module}" for module in modules]
    code = f"import sys\nfor name in {names}: __import__(name)\nprint({{'torch', 'ray'}} & set(sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_ground_and_pure_layers_import_neither_torch_nor_ray():
    assert _loaded(GROUND + PURE) == "set()"


def test_models_and_stages_do_not_import_ray():
    assert _loaded(MODELS) == "{'torch'}"


def test_dataset_of_the_client_does_not_import_ray():
    assert _loaded(["client.torch"]) == "{'torch'}"


def test_driver_of_the_pipelines_does_not_import_torch():
    """Its memory is needed for the models' actors."""
    assert (
        _loaded(
            [
                "pipelines.demo",
                "pipelines.evaluate",
                "pipelines.ray_profile",
                "pipelines.refine",
                "pipelines.sink",
                "pipelines.adapter",
            ]
        )
        == "{'ray'}"
    )
    assert _loaded(["pipelines.train_classifier", "pipelines.train_detector", "pipelines.study"]) == "set()"


LAYER_OF = {
    **dict.fromkeys(["errors", "rng", "records", "categories", "yaml12", "storage", "config",
                     "fingerprints", "json_lists"], 0),
    **dict.fromkeys(["masks", "outcomes", "overlaps", "worker", "pictures", "web"], 1),
    **dict.fromkeys(["prompts", "sources", "selection", "unit_files", "backgrounds", "lease", "runs", "cache",
                     "preview", "pool", "samples", "compose", "formats", "pace", "longtail",
                     "foregrounds", "contexts", "evaluation", "training", "studies"], 1),
    **dict.fromkeys(["models", "embedded", "torch", "client"], 2),
    "stages": 3,
    **dict.fromkeys(["pipelines", "serve"], 4),
    **dict.fromkeys(["cli", "html_report", "report", "report_pool", "report_selection", "report_longtail",
                     "report_contexts", "report_em", "report_evaluation", "report_train", "report_study"],
                    5),
}  # fmt: skip


def _package_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xpaste_ray."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_imports_from_a_layer_above_it(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in LAYER_OF, f"{own} has no layer yet: give it one"
    for imported in _package_imports(path):
        assert LAYER_OF[imported] <= LAYER_OF[own], f"{path.name} imports {imported} from a layer above"
