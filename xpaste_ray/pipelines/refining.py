"""The loops of F-EM, category by category, as tasks on Ray."""

from collections.abc import Sequence

import numpy as np
import ray

from xpaste_ray.config.em import EmSettings
from xpaste_ray.foregrounds import Refined
from xpaste_ray.pipelines.refine import refine_file
from xpaste_ray.storage import Location


def refine_on_ray(
    tasks: Sequence[tuple[Location, np.ndarray, np.ndarray]], settings: EmSettings
) -> list[Refined]:
    """In order, a core a category; the largest begin first. Ray must be running."""
    task = ray.remote(num_cpus=1)(refine_file)
    by_size = sorted(range(len(tasks)), key=lambda place: -int(tasks[place][1].sum()))
    begun = {place: task.remote(*tasks[place], settings) for place in by_size}
    found: list[Refined] = ray.get([begun[place] for place in range(len(tasks))])
    return found
