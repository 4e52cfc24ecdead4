"""Videos: frames by their time stamps, what they show from when to when, and where it happens.

    from tritonclip_search.video import sample

    for frame in sample("clip.mp4", fps=1):
        print(frame.time, frame.image.size)

Needs PyAV, which brings FFmpeg: `pip install "tritonclip[video]"`.
"""

from tritonclip_search.video.damage import Damage
from tritonclip_search.video.pooling import pooled
from tritonclip_search.video.sampling import Frame, sample
from tritonclip_search.video.segmenting import Segment, Stretch, segments

__all__ = ["Damage", "Frame", "Segment", "Stretch", "pooled", "sample", "segments"]
