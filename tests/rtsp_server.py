"""A camera: GStreamer's RTSP server on loopback, that sends an MPEG-TS file in real time, again and
again.

    /usr/bin/python3 tests/rtsp_server.py FILE PORT

For the system's Python, where `apt-get install python3-gi gir1.2-gst-rtsp-server-1.0
gstreamer1.0-plugins-good gstreamer1.0-plugins-bad` put its library.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

file, port = sys.argv[1:]
Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
camera = GstRtspServer.RTSPMediaFactory(shared=True)
camera.set_launch(
    f"( multifilesrc location={file} loop=true ! tsdemux ! h264parse config-interval=1"
    " ! identity sync=true ! rtph264pay name=pay0 )"
)
server.get_mount_points().add_factory("/door", camera)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
