"""Step 1 of F-EM (EM-Paste, Algorithm 1): of the segments nearest to the activation's centre, the one that
the classifier likes most."""

import numpy as np

from xpaste_ray.selection.quota import first_of_each


def first_choice(
    image_of: np.ndarray, images: int, cam_distance: np.ndarray, class_score: np.ndarray, nearest: int
) -> np.ndarray:
    """(images,) int64: the place of each image's segment among S, or -1 if none of it has a distance.

    image_of: (S,) int64 ascending; cam_distance, class_score: (S,) float32, NaN where there is none. Ties, in
    either, go to what stands first.
    """
    usable = np.flatnonzero(np.isfinite(cam_distance) & np.isfinite(class_score))
    by_distance = usable[np.lexsort((cam_distance[usable], image_of[usable]))]  # stable: equals stay in order
    near = np.sort(by_distance[first_of_each(image_of[by_distance], nearest)])
    by_score = near[np.lexsort((-class_score[near], image_of[near]))]
    best = by_score[first_of_each(image_of[by_score], 1)]
    choice = np.full(images, -1, np.int64)
    choice[image_of[best]] = best
    return choice
