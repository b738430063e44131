"""What estimators have of scikit-learn's own classes is described there."""


def _skip(app, what, name, member, skip, options):
    return True if str(getattr(member, "__module__", "")).startswith("sklearn.") else None


def setup(app):
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
