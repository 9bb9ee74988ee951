"""Video files and folders of images to frames: the only decoders of the project."""

from idt.video.files import (
    IMAGE_SUFFIXES,
    LARGEST_SIDE,
    MAX_SIDE,
    VideoError,
    VideoInfo,
    check_range,
    content_hash,
    declared_frames,
    frames,
    probe,
    read,
    shrink,
)
from idt.video.listing import VIDEO_SUFFIXES, find_videos, is_folder_of_videos, read_list
from idt.video.vectors import PICTURES, VECTOR, CodecFrame, frames_with_vectors

__all__ = [
    "IMAGE_SUFFIXES",
    "LARGEST_SIDE",
    "MAX_SIDE",
    "PICTURES",
    "VECTOR",
    "VIDEO_SUFFIXES",
    "CodecFrame",
    "VideoError",
    "VideoInfo",
    "check_range",
    "content_hash",
    "declared_frames",
    "find_videos",
    "frames",
    "frames_with_vectors",
    "is_folder_of_videos",
    "probe",
    "read",
    "read_list",
    "shrink",
]
