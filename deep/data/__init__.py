"""From videos to batches: decode once, keep small frames and flow, cut clips out of them.

A video is decoded once. Its frames, the shorter side brought to the stored size, and the flow
between them are kept as uint8 in two HDF5 files, read back frame by frame; frames serve several
kinds of flow and the methods that need none. Stored frames are RGB, flow is as in `deep.flow`, in
pixels of the stored size. A folder of images is a video, too; flow that lies beside its images is
kept in place of one that is computed, if it is the one that is wanted.
"""

from deep.data.batches import Batch, balanced_order, training_batches
from deep.data.cutting import Cutting, View, corner_views, grid_views, mirrored, read_clip
from deep.data.storing import Stored, read_frames, store, store_all

__all__ = [
    "Batch",
    "Cutting",
    "Stored",
    "View",
    "balanced_order",
    "corner_views",
    "grid_views",
    "mirrored",
    "read_clip",
    "read_frames",
    "store",
    "store_all",
    "training_batches",
]
