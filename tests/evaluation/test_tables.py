import csv
import io

import pytest

from tests.evaluation.material import CAT, DOG, as_predicted, image, thing, truth
from xpaste_ray.evaluation import evaluate
from xpaste_ray.evaluation.tables import per_category_csv


def test_table_has_a_row_a_category_and_nothing_where_there_is_no_object():
    here = truth(image(1, thing(DOG, 0, 0, 30, 30)), categories=(DOG, CAT))
    rows = list(csv.DictReader(io.StringIO(per_category_csv(evaluate(here, as_predicted(here))).decode())))
    assert [row["name"] for row in rows] == ["cat", "dog"]
    assert (rows[0]["ap_segm"], rows[0]["instances"], rows[0]["frequency"]) == ("", "0", "r")
    assert float(rows[1]["ap_segm"]) == pytest.approx(1) and rows[1]["images"] == "1"
