import json

import cv2
import numpy as np

from xpaste_ray.masks import encode_rle
from xpaste_ray.preview import draw_preview


def test_preview_shows_mask_box_and_name(tmp_path):
    mask = np.zeros((256, 256), bool)
    mask[100:150, 60:160] = True
    coco = {
        "categories": [{"id": 45, "name": "banana"}],
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)],
        "annotations": [
            {"image_id": 1, "category_id": 45, "bbox": [60, 100, 100, 50], "segmentation": encode_rle(mask)}
        ],
    }
    (tmp_path / "images").mkdir()
    for name in ("1.jpg", "2.jpg"):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((256, 256, 3), 128, np.uint8))
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    draw_preview(tmp_path, tmp_path / "preview.jpg", columns=3, rows=1)
    preview = cv2.imread(str(tmp_path / "preview.jpg")).astype(int)
    assert preview.shape == (256, 768, 3)
    marked, plain, blank = np.split(preview, 3, axis=1)
    assert np.ptp(marked[125, 100]) > 20  # tinted inside the mask
    assert abs(marked[200, 200] - 128).max() < 8  # as it was outside
    assert abs(marked[94, 60:100] - 128).max() > 30  # the name's plate above the box
    assert abs(plain[20:-20, 20:-20] - 128).max() < 8 and blank.min() > 240
