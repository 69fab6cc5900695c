import numpy as np

from xpaste_ray.contexts.sheet import ShownImage, ShownSource, ShownText, draw_sheets

RED, BLUE = (250, 20, 20), (20, 20, 250)
GREEN_FRAME, RED_FRAME = (30, 140, 60), (200, 60, 50)


def plain(colour, size_hw=(64, 64)):
    return np.full((*size_hw, 3), colour, np.uint8)


def count(page, colour):
    return int((page == np.array(colour, np.uint8)).all(-1).sum())


def text(*images, caption="a cat", became="a lion", reason=None):
    return ShownText(caption, became, reason, images)


def test_kept_and_dropped_images_have_frames_of_their_own():
    kept = ShownImage(plain(BLUE), "caption 20.0", None)
    dropped = ShownImage(plain(BLUE), "caption 10.0", "low_caption_logit")
    (page,) = draw_sheets([ShownSource("1.jpg", plain(RED), (text(kept, dropped, dropped),))])
    assert count(page, GREEN_FRAME) > 1000 and count(page, RED_FRAME) >= 2 * 1000
    assert count(page, BLUE) == 3 * 106 * 106  # a tile of 112 px in a frame of 3
    assert count(page, RED) == 106 * 106


def test_whole_image_is_shown_in_its_proportions():
    (page,) = draw_sheets([ShownSource("1.jpg", plain(RED, (50, 100)), (text(),))])
    assert count(page, RED) == 53 * 106


def test_what_is_not_there_is_grey():
    none = ShownImage(None, "no score", "nan_image")
    (page,) = draw_sheets([ShownSource("1.jpg", None, (text(none),))])
    assert count(page, (225, 225, 225)) > 112 * 112 + 100 * 100


def test_caption_that_changed_and_a_reason_need_a_line_more():
    def height(*texts):
        return next(draw_sheets([ShownSource("1.jpg", plain(RED), texts)])).shape[0]

    image = ShownImage(plain(BLUE), "caption 20.0", None)
    same = height(text(image, became="a cat"))
    assert height(text(image)) == same + 16
    assert height(text(image, became=None, reason="no_distractor")) == same + 16


def test_pages_hold_twelve_captions_and_never_part_an_image():
    sources = [ShownSource(f"{i}.jpg", plain(RED), (text(), text())) for i in range(13)]
    pages = list(draw_sheets(sources))
    assert [count(page, RED) // (106 * 106) for page in pages] == [6, 6, 1]
    assert list(draw_sheets([])) == []
