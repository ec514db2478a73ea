"""References: values of rows that stand for something bulky."""

from __future__ import annotations

from tracker.core.journal import Block
from tracker.core.journal.frame import scan
from tracker.core.values import Reference, encodable, encode

IMAGE = {"_type": "image-file", "digest": "ab" * 32, "size": 3, "boxes": [{"left": 2**70}]}


def _packed(values: dict[str, object]) -> bytes:
    return encode((0, 1, encodable(values)))


def test_a_reference_is_one_value() -> None:
    """It is not taken apart as other dicts are, in a row, in a block, and when a block is packed again."""
    block = Block.from_rows(1, [_packed({"loss": 0.5, "nested": {"a": 1}, "image": Reference(IMAGE)})])
    (frame,) = scan(block.to_frame())
    again = Block.from_frame(frame)
    ((_, _, first),) = block.rows()
    ((_, _, values),) = again.rows()

    assert {"loss": 0.5, "nested.a": 1, "image": IMAGE} == first == values
    assert type(values["image"]) is Reference
    assert _packed(values) == _packed({"loss": 0.5, "nested.a": 1, "image": Reference(IMAGE)})


def test_a_list_of_references_is_kept_as_one() -> None:
    """A gallery is a list of them."""
    block = Block.from_rows(1, [_packed({"gallery": [Reference(IMAGE), Reference(IMAGE)]})])
    ((_, _, values),) = block.rows()

    assert values["gallery"] == [IMAGE, IMAGE]
    assert {Reference} == {type(item) for item in values["gallery"]}
