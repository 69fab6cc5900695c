from dataclasses import replace

import numpy as np
import pytest

from xpaste_ray.foregrounds.picture import COLUMNS, TILE_PX, ForegroundRow, draw_foregrounds

GREY = 120
LEFT = [8 + place * (TILE_PX + 8) for place in range(len(COLUMNS))]
TOP = 24


def _mask(rows, columns):
    mask = np.zeros((96, 96), bool)
    mask[rows, columns] = True
    return mask


def _row(**changed):
    """96 x 96 px, drawn at twice that size."""
    heat = np.zeros((96, 96), np.float32)
    heat[:48, :48] = 3
    row = ForegroundRow(
        category="banana",
        image=np.full((96, 96, 3), GREY, np.uint8),
        heat=heat,
        centre_yx=(24, 72),
        proposals=(_mask(slice(10, 40), slice(10, 40)), _mask(slice(50, 90), slice(50, 90))),
        before=_mask(slice(10, 40), slice(10, 40)),
        after=_mask(slice(50, 90), slice(50, 90)),
    )
    return replace(row, **changed)


def _tiles(picture):
    return [picture[TOP : TOP + TILE_PX, left : left + TILE_PX].astype(int) for left in LEFT]


def test_a_line_a_row_and_a_tile_a_column():
    one, two = draw_foregrounds([_row()]), draw_foregrounds([_row(), _row()])
    assert one.dtype == np.uint8 and one.shape == (24 + 192 + 20, 8 + 5 * 200, 3)
    assert two.shape[0] - one.shape[0] == 192 + 20 and np.array_equal(two[: len(one)], one)


def test_image_is_shown_as_it_is():
    assert (_tiles(draw_foregrounds([_row()]))[0] == GREY).all()


def test_heat_is_red_at_its_maximum_blue_where_there_is_none_with_a_cross_at_its_centre():
    heat = _tiles(draw_foregrounds([_row()]))[1]
    assert heat[20, 20, 0] > heat[20, 20, 2] and heat[180, 180, 2] > heat[180, 180, 0]
    y, x = 2 * 24, 2 * 72
    assert (heat[y, x] == 255).all() and not (heat[y, x - 40] == 255).all()


def test_an_activation_without_any_heat_is_blue_all_over():
    heat = _tiles(draw_foregrounds([_row(heat=np.zeros((96, 96), np.float32))]))[1]
    assert heat[20, 20, 2] > heat[20, 20, 0]


def test_proposals_are_outlined_in_several_colours_and_not_filled():
    tile = _tiles(draw_foregrounds([_row()]))[2]
    outlines = {tuple(tile[50, 20]), tuple(tile[140, 100])}
    assert len(outlines) == 2 and (GREY, GREY, GREY) not in outlines
    assert (tile[50, 50] == GREY).all() and (tile[140, 140] == GREY).all()


def test_choices_before_and_after_stand_out_where_they_are():
    before, after = _tiles(draw_foregrounds([_row()]))[3:]
    assert (before[50, 50] == GREY).all() and (before[140, 140] == 36).all()  # 0.3 of 120
    assert (after[50, 50] == 36).all() and (after[140, 140] == GREY).all()


def test_no_choice_leaves_the_whole_image_dimmed():
    before, after = _tiles(draw_foregrounds([_row(before=None)]))[3:]
    assert (before == 36).all() and (after[140, 140] == GREY).all()


def test_caption_says_whether_the_choice_changed():
    changed = draw_foregrounds([_row()])
    same = draw_foregrounds([_row(after=_row().before)])
    captions = [picture[TOP + TILE_PX :, LEFT[4] :] for picture in (changed, same)]
    assert not np.array_equal(*captions)
    assert (changed[TOP + TILE_PX :, LEFT[1] : LEFT[2] - 8] == 255).all()  # Grad-CAM needs none


def test_a_long_name_stays_in_its_column():
    long, short = draw_foregrounds([_row(category="x" * 80)]), draw_foregrounds([_row()])
    assert np.array_equal(long[:, LEFT[1] - 8 :], short[:, LEFT[1] - 8 :])


def test_a_wide_image_is_not_stretched():
    row = _row(
        image=np.full((48, 96, 3), GREY, np.uint8), heat=np.zeros((48, 96)), proposals=(), before=None,
        after=None,
    )  # fmt: skip
    tile = _tiles(draw_foregrounds([row]))[0]
    assert (tile[:96] == GREY).all() and (tile[96:] == 255).all()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="no row"):
        draw_foregrounds([])
    with pytest.raises(ValueError, match=r"banana: \(5, 5\) for an image of \(96, 96\)"):
        draw_foregrounds([_row(after=np.zeros((5, 5), bool))])
