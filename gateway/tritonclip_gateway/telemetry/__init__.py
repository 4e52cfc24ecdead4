"""What a gateway tells about itself: metrics, logs, traces. Never a text, never a picture."""
