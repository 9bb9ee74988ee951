"""The rows of the tables of Feichtenhofer et al. 2016 as options, with the counts they print.

Table 1, how to fuse; table 2, where; table 4, how to pool over time, with both towers kept; and the
final network of section 3.5. Table 3, how deep, is of networks without fusion: `two_stream` has it.
In tables 1 and 2 two VGG-M-2048 towers see one chunk.
"""

from __future__ import annotations

from typing import Any

from deep.models._variant import Variant

_TABLES_1_2: dict[str, Any] = {"backbone": "cnn-m-2048", "towers": "one", "segments": 1}
_TABLE_4: dict[str, Any] = {"backbone": "vgg-16/cnn-m-2048", "at": "relu5", "segments": 5}
_FINAL: dict[str, Any] = {"backbone": "vgg-16", "at": "relu5", "fusion": "conv3d", "segments": 5}


def _row(at: str, fusion: str, published: str = "", **more: Any) -> Variant:
    return Variant({**_TABLES_1_2, "at": at, "fusion": fusion, **more}, published)


VARIANTS: dict[str, Variant] = {
    "table1-sum-softmax-original": _row("softmax", "sum", "181.42 M"),
    "table1-sum-softmax": _row("softmax", "sum", "181.42 M"),
    "table1-max-relu5": _row("relu5", "max", "97.31 M"),
    "table1-concat-relu5": _row("relu5", "concat", "172.81 M"),
    "table1-bilinear-relu5": Variant(
        {**_TABLES_1_2, "at": "relu5", "fusion": "bilinear"}, "6.61 M + SVM", uncounted=("svm",)
    ),
    "table1-sum-relu5": _row("relu5", "sum", "97.31 M"),
    "table1-conv-relu5": _row("relu5", "conv", "97.58 M"),
    # the text beside tables 1 and 2
    "text-conv-relu5-gaussian": _row("relu5", "conv", start="gaussian"),
    "text-conv-relu5-literal-sum": _row("relu5", "conv", scales=(1.0, 1.0)),
    "text-conv-fc6": _row("fc6", "conv"),
    "text-conv-fc7": _row("fc7", "conv"),
    "text-conv-fc8": _row("fc8", "conv"),
    "text-sum-fc8": _row("fc8", "sum"),
    "table2-relu2": _row("relu2", "conv", "91.90 M"),
    "table2-relu3": _row("relu3", "conv", "93.08 M"),
    "table2-relu4": _row("relu4", "conv", "95.48 M"),
    "table2-relu5": _row("relu5", "conv", "97.57 M"),
    "table2-relu5-fc8": _row("relu5+fc8", "conv+sum", "181.68 M"),
    "table2-relu3-relu5-fc6": _row("relu3+relu5+fc6", "conv", "190.06 M"),
    "table4-conv-2d-pooling": Variant({**_TABLE_4, "fusion": "conv", "pool": "2d"}),
    "table4-conv-3d-pooling": Variant({**_TABLE_4, "fusion": "conv", "pool": "3d"}),
    "table4-conv3d-3d-pooling": Variant({**_TABLE_4, "fusion": "conv3d", "pool": "3d"}),
    # section 3.5 and the last comparison, two VGG-16 towers
    "vgg-16-late": Variant({**_FINAL, "at": "softmax", "fusion": "sum"}),
    "vgg-16-one-tower": Variant({**_FINAL, "towers": "one"}),
    "vgg-16-both-towers": Variant({**_FINAL, "towers": "both", "stop_gradient": True}),
}
