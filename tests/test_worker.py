import subprocess
import sys


def test_freed_canvases_are_used_again():
    """Blocks of 4 MB asked for and freed a hundred times: the kernel is asked for pages but once."""
    code = (
        "import resource, numpy as np\n"
        "from xpaste_ray.worker import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(100):\n"
        "        canvases = [np.ones(4 * 1024**2, np.uint8) for _ in range(4)]\n"
        "        del canvases\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "usual = faults()\n"
        "keep_freed_memory()\n"
        "faults()\n"
        "print(usual, faults())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    usual, kept = map(int, done.stdout.split())
    assert usual > 10_000 and kept < 100
