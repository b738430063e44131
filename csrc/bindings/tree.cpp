#include "bindings/tree.h"

#include <utility>

#include "bindings/message.h"

namespace fnn::bindings {

namespace {

bool is_sequence(py::handle x) { return PyList_Check(x.ptr()) || PyTuple_Check(x.ptr()); }

py::handle item(py::handle sequence, index i) {
    return PyList_Check(sequence.ptr()) ? PyList_GET_ITEM(sequence.ptr(), i)
                                        : PyTuple_GET_ITEM(sequence.ptr(), i);
}

}  // namespace

Tree::Tree(const py::object& value, const char* name) { grow(value, -1, py::none(), 0, name); }

int Tree::grow(const py::object& value, int parent, const py::object& key, int depth, const char* name) {
    constexpr int deepest = 100;
    const int place = int(nodes_.size());
    if (depth > deepest)
        throw py::value_error(expected(path_of(parent, name),
                                       "at most " + std::to_string(deepest) + " containers around an array",
                                       "more; does one contain itself?"));
    const bool sequence = is_sequence(value), dict = PyDict_Check(value.ptr());
    nodes_.push_back({sequence ? Kind::sequence : dict ? Kind::dict : Kind::leaf, parent, key, {}, 0});
    std::vector<int> children;
    if (sequence) {
        const index n = PySequence_Size(value.ptr());
        for (index i = 0; i < n; ++i)
            children.push_back(grow(py::reinterpret_borrow<py::object>(item(value, i)), place, py::int_(i),
                                    depth + 1, name));
    } else if (dict) {
        for (const auto& [name_of_child, child] : py::reinterpret_borrow<py::dict>(value))
            children.push_back(grow(py::reinterpret_borrow<py::object>(child), place,
                                    py::reinterpret_borrow<py::object>(name_of_child), depth + 1, name));
    } else {
        nodes_[std::size_t(place)].leaf = leaves_.size();
        leaves_.push_back(place);
        first_leaves_.push_back(value);
    }
    nodes_[std::size_t(place)].children = std::move(children);
    return place;
}

void Tree::read(const py::object& value, const char* name, std::vector<py::object>& leaves) const {
    leaves.resize(leaves_.size());
    read(value, nodes_[0], name, leaves);
}

void Tree::read(py::handle value, const Node& node, const char* name, std::vector<py::object>& leaves) const {
    if (node.kind == Kind::leaf) {
        leaves[node.leaf] = py::reinterpret_borrow<py::object>(value);
        return;
    }
    const auto here = [&] { return path_of(int(&node - nodes_.data()), name); };
    const std::string n = std::to_string(node.children.size());
    if (node.kind == Kind::sequence) {
        if (!is_sequence(value))
            throw py::type_error(expected(here(), "a list or tuple of " + n, type_of(value)));
        const index came = PySequence_Size(value.ptr());
        if (came != index(node.children.size()))
            throw py::value_error(expected(here(), n + " items", std::to_string(came)));
        for (std::size_t i = 0; i < node.children.size(); ++i)
            read(item(value, index(i)), nodes_[std::size_t(node.children[i])], name, leaves);
        return;
    }
    if (!PyDict_Check(value.ptr())) throw py::type_error(expected(here(), "a dict of " + n, type_of(value)));
    for (const int child : node.children) {
        const Node& next = nodes_[std::size_t(child)];
        PyObject* const found = PyDict_GetItemWithError(value.ptr(), next.key.ptr());
        if (found == nullptr) {
            if (PyErr_Occurred()) throw py::error_already_set();
            throw py::value_error(expected(path_of(child, name), "a gradient of this parameter", "nothing"));
        }
        read(found, next, name, leaves);
    }
    if (PyDict_Size(value.ptr()) == index(node.children.size())) return;
    for (const auto& [key, unused] : py::reinterpret_borrow<py::dict>(value)) {
        bool known = false;
        for (const int child : node.children) known = known || nodes_[std::size_t(child)].key.equal(key);
        if (!known)
            throw py::value_error(
                expected(here() + "[" + repr_of(key) + "]", "a parameter of this gradient", "none"));
    }
}

std::string Tree::path_of(int place, const std::string& name) const {
    if (place < 0) return name;
    const Node& node = nodes_[std::size_t(place)];
    if (node.parent < 0) return name;
    return path_of(node.parent, name) + "[" + repr_of(node.key) + "]";
}

std::string Tree::key(std::size_t leaf) const {
    std::string text;
    for (int place = leaves_[leaf]; nodes_[std::size_t(place)].parent >= 0;) {
        const Node& node = nodes_[std::size_t(place)];
        const std::string own = text_of(node.key);
        text = text.empty() ? own : own + "." + text;
        place = node.parent;
    }
    return text;
}

}  // namespace fnn::bindings
