"""The site: `sphinx-build -W docs build/docs` after `pip install -e '.[docs]'`."""

import sys
from pathlib import Path

import pyfast_nn

pyfast_nn.set_num_threads(1)  # the gallery's networks are small, and the machine may be busy
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "pyfast_nn"
author = "pyfast_nn developers"
release = version = pyfast_nn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "mathml",
    "numpydoc",
    "references",
    "inherited",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
html_theme = "furo"
html_title = f"pyfast_nn {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["fits.css"]
copybutton_exclude = ".linenos, .gp, .go"  # neither prompts nor what Python answers
default_role = "py:obj"

# Every name that stands as a link is one; those of others are, where a network is at hand, theirs.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|scipy|sklearn|pandas|torch|matplotlib|collections|copy|os)\..*")
]

# One page for each class and function, in the order of the lists in api.rst.
templates_path = ["_templates"]  # a class on one page with its members
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the lists of parameters say them
numpydoc_show_class_members = False  # autodoc lists them already

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",  # run them all
    "within_subsection_order": "FileNameSortKey",
    "image_srcset": ["2x"],
    "capture_repr": (),  # pictures and what is printed, no values of last lines
    "first_notebook_cell": "# %pip install 'pyfast-nn[curvature,sklearn,plot]'",
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}
