// Arrays as users keep them: one, or lists, tuples and dicts of them, however deep.
#pragma once

#include <string>
#include <vector>

#include "bindings/arrays.h"

namespace fnn::bindings {

// The structure of a tree, and the way to each of its leaves.
class Tree {
   public:
    // Whatever is no list, tuple or dict is a leaf. Throws ValueError where containers contain themselves.
    Tree(const py::object& value, const char* name);

    // The leaves of a tree of the same structure, in the order of the first. Throws TypeError or ValueError
    // that names the place where it is another.
    void read(const py::object& value, const char* name, std::vector<py::object>& leaves) const;

    std::size_t size() const { return leaves_.size(); }
    const std::vector<py::object>& first_leaves() const { return first_leaves_; }

    // "params['layers'][2]"
    std::string path(std::size_t leaf, const std::string& name) const { return path_of(leaves_[leaf], name); }
    // "layers.2"
    std::string key(std::size_t leaf) const;

   private:
    enum class Kind { leaf, sequence, dict };
    struct Node {
        Kind kind;
        int parent;
        py::object key;  // in the parent: an int, or the key of a dict
        std::vector<int> children;
        std::size_t leaf = 0;
    };

    int grow(const py::object& value, int parent, const py::object& key, int depth, const char* name);
    void read(py::handle value, const Node& node, const char* name, std::vector<py::object>& leaves) const;
    std::string path_of(int node, const std::string& name) const;

    std::vector<Node> nodes_;
    std::vector<int> leaves_;
    std::vector<py::object> first_leaves_;
};

}  // namespace fnn::bindings
