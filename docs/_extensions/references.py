"""Names between single backticks, as docstrings write them: `Sequential.fit`, `batch_size`."""

from sphinx.util.nodes import make_refnode


def _find(app, env, node, contnode):
    """Link to the public object whose full name ends so; leave the name of an argument as it is."""
    if node.get("refdomain") != "py" or node.get("reftype") != "obj":
        return None
    target = node["reftarget"].removeprefix("fnn.")
    is_argument = target == node["reftarget"] and (target.islower() or len(target) == 1)
    found = [
        (name, entry)
        for name, entry in env.get_domain("py").objects.items()
        if name.endswith(f".{target}")
        and not entry.aliased
        and (not is_argument or entry.objtype in ("function", "method"))
    ]
    if len(found) == 1:
        [(name, entry)] = found
        return make_refnode(
            app.builder, node["refdoc"], entry.docname, entry.node_id, [contnode], name
        )
    return contnode if is_argument and "." not in target else None


def setup(app):
    app.connect("missing-reference", _find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
