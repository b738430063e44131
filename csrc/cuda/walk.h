// The walks through a plan on a device: forward, backward, the tangent of each, and the gradient of the
// parameters.
#pragma once

#include "cuda/workspace.h"

namespace fnn::FNN_ISA::device {

// Throws std::invalid_argument for a plan with a layer that a device does not have.
void need_known_layers(const Plan&);

template <class T>
struct Walks {
    using Space = Workspace<T>;

    // Up to a node, or, without, to the output.
    static void forward(Space&, const Node* end = nullptr);
    // Starts from da of the output.
    static void backward(Space&);
    static void tangent_forward(Space&);
    // The tangent of `backward`, which must have run; starts from rd of the output, where rda stands.
    static void tangent_backward(Space&);
    // Of all that is trained, (+)= what the rows of the workspace give: what went forward times what comes
    // back,
    static void gradient(const Space&, bool add);
    // and the tangent of that.
    static void gradient_tangent(const Space&, bool add);
    // What layers keep of a batch that has gone forward.
    static void learn_state(const Space&);
    // Whether a node keeps something besides parameters.
    static bool has_state(const Node&);
    // What one of them keeps becomes that of these rows, which have gone forward up to it, and of `before`
    // others.
    static void calibrate(const Space&, const Node&, index before);
    // Column sums of u^2 times `squares`, and the like, for traces: u of vector k of a node, or null for
    // ones.
    static const T* factor(const Space&, const Node&, index k);
    static void softmax(Space&, T* y);  // (rows, out_features), in place
    static void activate(Space&, const ActivationSpec&, T* y, index n);
};

extern template struct Walks<float>;
extern template struct Walks<double>;

}  // namespace fnn::FNN_ISA::device
