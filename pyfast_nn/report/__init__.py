"""How good a model is on examples that it was not trained on: numbers, and a page that shows them.

The page is one HTML file that loads nothing: pictures are inline SVG, there is no script. It needs
jinja2 and Matplotlib, the extra ``report``; the numbers need nothing.
"""
