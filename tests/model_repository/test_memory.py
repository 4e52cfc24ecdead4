"""What huge pictures leave behind in the process that decodes them."""

import subprocess
import sys
import textwrap

from tritonclip_export.served.sources import skeletons

HUGE = """
import io, sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, sys.argv[1])
from memory import Memory, resident
from PIL import Image
from pixels import set_up_pillow

set_up_pillow(2)
file = io.BytesIO()
Image.new("CMYK", (7000, 7000), (10, 20, 30, 0)).save(file, "TIFF", compression="tiff_lzw")
memory, before = Memory(), resident()
with ThreadPoolExecutor(2) as threads:
    def embed(_):
        with Image.open(io.BytesIO(file.getvalue())) as picture:
            picture.resize((64, 64)).convert("RGB")
    list(threads.map(embed, range(2)))
    kept = resident()
    memory.after_batch()
    print(kept - before >> 20, resident() - before >> 20)
"""


def test_memory_that_huge_pictures_took_is_given_back() -> None:
    folder = skeletons() / "image_preprocess" / "1"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HUGE), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    kept, after = map(int, done.stdout.split())
    assert kept > 256
    assert after < 64
