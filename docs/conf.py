"""The site: `sphinx-build -W docs build/docs` after `pip install -e '.[docs]'`."""

import shutil
import sys
import tempfile
from pathlib import Path

import pyfast_nn

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))  # the scripts share a module
PICTURE = Path(tempfile.mkdtemp()) / "picture.png"

project = "pyfast_nn"
author = "pyfast_nn developers"
release = version = pyfast_nn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
html_theme = "furo"
html_title = f"pyfast_nn {release}"
default_role = "py:obj"

# One page for each class and function, in the order of the lists in api.rst.
templates_path = ["_templates"]  # a class on one page with its members
autosummary_generate = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # autodoc lists them already

suppress_warnings = ["config.cache"]  # functions in the gallery's settings


def take_picture(block, block_vars, gallery_conf):
    """Give the gallery the picture that a script saved."""
    from sphinx_gallery.scrapers import figure_rst

    if not PICTURE.exists():
        return ""
    path = next(block_vars["image_path_iterator"])
    shutil.move(PICTURE, path)
    return figure_rst([path], gallery_conf["src_dir"])


sphinx_gallery_conf = {
    "examples_dirs": str(EXAMPLES),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/[^_][^/]*\.py$",
    "ignore_pattern": r"_gallery\.py$",
    # A small size makes the same picture.
    "reset_argv": lambda gallery_conf, script_vars: ["--quick", "--out", str(PICTURE)],
    "image_scrapers": [take_picture],
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}
