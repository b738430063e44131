"""What it costs to say `import pyfast_nn` in a fresh interpreter."""

import subprocess
import sys


class Import:
    params = ("pyfast_nn", "numpy")
    param_names = ("module",)

    def time_import(self, module):
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
