"""The site: `sphinx-build -W docs build/docs` after `pip install -e '.[docs]'`."""

import pyfast_nn

pyfast_nn.set_num_threads(1)  # the gallery's networks are small, and the machine may be busy

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

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",  # run them all
    "within_subsection_order": "FileNameSortKey",
    "image_srcset": ["2x"],
    "capture_repr": (),  # pictures and what is printed, no values of last lines
    "first_notebook_cell": "# %pip install 'pyfast-nn[curvature,plot]'",
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}
