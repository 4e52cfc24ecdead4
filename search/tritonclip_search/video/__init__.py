"""Videos: frames by their time stamps, what they show from when to when, and where it happens.

    from tritonclip_search.video import sample

    for frame in sample("clip.mp4", fps=1):
        print(frame.time, frame.image.size)

Needs PyAV, which brings FFmpeg: `pip install "tritonclip[video]"`.
"""

from tritonclip_search.video.sampling import Frame, sample

__all__ = ["Frame", "sample"]
