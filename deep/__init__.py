"""Deep networks for action recognition: videos in, class scores out.

Frames are ``(row, column, channel)`` uint8 arrays in RGB order once they are stored; flow is
``(dx, dy)`` in pixels per frame of the stored size; network inputs are
``(batch, segment, channel, time, row, column)`` float32 tensors.
"""
