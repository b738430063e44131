// The walks through a plan: forward, backward, and the tangent (directional derivative) of each.
#pragma once

#include "net/ops/activation.h"
#include "net/ops/dense.h"
#include "net/ops/identity.h"
#include "net/ops/softmax.h"
#include "net/workspace.h"

namespace fnn::FNN_ISA::net {

// The walks over rows touch no other rows, so each thread takes its own through all nodes without waiting.
// Those over parameters need the walks of all rows to be complete.

// Of one node, some rows of some panels of its output. A map that is not a product takes whole rows.
template <class T>
void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels) {
    const Panels<T> a = ws.a(node.output), z = ws.z(node.output), x = ws.a(node.input);
    const auto activate = [&](index first, index count) {
        activation_forward<T>(node.activation, a.data, z.data, {first, first + count});
    };
    if (node.map == Map::dense)
        Dense<T>::forward(z, x, ws.layout.weight(ws.parameters, node), ws.layout.bias(ws.parameters, node),
                          rows, panels, activate);
    else if (node.map == Map::softmax)
        Softmax<T>::forward(a, x, rows);
    else
        pass_through<T>(z, x, rows, false, activate);
}

template <class T>
void forward(Workspace<T>& ws, Range rows) {
    for (const Node& node : ws.plan.nodes) forward(ws, node, rows, {0, ws.z(node.output).count()});
}

// For all rows, which are few, from the parameters as they lie: threads share the columns of a layer, as
// reading its parameters is most of the work. Ends with wait().
template <class T, class Share, class Wait>
void forward_few(Workspace<T>& ws, const T* parameters, const Share& share, const Wait& wait) {
    for (const Node& node : ws.plan.nodes) {
        const Panels<T> a = ws.a(node.output), z = ws.z(node.output);
        const auto activate = [&](index first, index count) {
            activation_forward<T>(node.activation, a.data, z.data, {first, first + count});
        };
        if (node.map == Map::dense)
            Dense<T>::forward_few(z, ws.a(node.input), parameters + node.weight, parameters + node.bias,
                                  share(z.count()), activate);
        else
            forward(ws, node, share(ws.rows), {0, z.count()});
        wait();
    }
}

// d = da f'(z) for a stretch of a buffer.
template <class T>
void complete_gradient(Workspace<T>& ws, int buffer, Range r) {
    activation_backward<T>(ws.activation_of(buffer), ws.d(buffer).data, ws.da(buffer).data, ws.z(buffer).data,
                           r);
}

template <class T>
void complete_tangent(Workspace<T>& ws, int buffer, Range r) {
    activation_tangent_backward<T>(ws.activation_of(buffer), ws.rd(buffer).data, ws.rda(buffer).data,
                                   ws.da(buffer).data, ws.z(buffer).data, ws.rz(buffer).data, r);
}

// d of the output from its da.
template <class T>
void complete_output_gradient(Workspace<T>& ws, Range rows) {
    const int last = ws.plan.output();
    for_stretches(ws.d(last), rows, [&](Range r) { complete_gradient(ws, last, r); });
}

// Of one node, some rows of some panels of its input, as `forward`.
template <class T>
void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels) {
    const Panels<T> dx = ws.da(node.input), dz = ws.d(node.output);
    const auto complete = [&](index first, index count) {
        if (node.completes_gradient) complete_gradient(ws, node.input, {first, first + count});
    };
    if (node.map == Map::dense)
        Dense<T>::backward(dx, dz, ws.layout.weight_transposed(ws.transposed, node), rows, panels,
                           node.adds_gradient, complete);
    else if (node.map == Map::softmax)
        Softmax<T>::backward(dx, ws.a(node.output), dz, rows, node.adds_gradient, complete);
    else
        pass_through<T>(dx, dz, rows, node.adds_gradient, complete);
}

// f(node) for those that go backward, from the last one.
template <class T, class F>
void for_nodes_backward(const Workspace<T>& ws, const F& f) {
    for (std::size_t n = ws.plan.nodes.size(); n-- > 0;)
        if (ws.wants_gradient(ws.plan.nodes[n].input)) f(ws.plan.nodes[n]);
}

// Starts from da of the output.
template <class T>
void backward(Workspace<T>& ws, Range rows) {
    complete_output_gradient(ws, rows);
    for_nodes_backward(ws,
                       [&](const Node& node) { backward(ws, node, rows, {0, ws.da(node.input).count()}); });
}

// The tangent of `forward` along the direction; the network's input does not move.
template <class T>
void tangent_forward(Workspace<T>& ws, Range rows) {
    for (const Node& node : ws.plan.nodes) {
        const Panels<T> rz = ws.rz(node.output), x = ws.a(node.input), rx = ws.ra(node.input);
        const auto activate = [&](index first, index count) {
            activation_tangent_forward<T>(node.activation, ws.ra(node.output).data, rz.data,
                                          ws.z(node.output).data, {first, first + count});
        };
        if (node.map == Map::dense)
            Dense<T>::tangent_forward(rz, x, rx, ws.layout.weight(ws.parameters, node),
                                      ws.layout.weight(ws.direction, node),
                                      ws.layout.bias(ws.direction, node), rows, activate);
        else if (node.map == Map::softmax && rx.data != nullptr)
            Softmax<T>::backward(rz, ws.a(node.output), rx, rows, false, activate);
        else
            pass_through<T>(rz, rx, rows, false, activate);
    }
}

// The tangent of `backward`, which must have run; starts from rda of the output.
template <class T>
void tangent_backward(Workspace<T>& ws, Range rows) {
    const int last = ws.plan.output();
    for_stretches(ws.rd(last), rows, [&](Range r) { complete_tangent(ws, last, r); });
    for_nodes_backward(ws, [&](const Node& node) {
        const Panels<T> rdx = ws.rda(node.input), dz = ws.d(node.output), rdz = ws.rd(node.output);
        const auto complete = [&](index first, index count) {
            if (node.completes_gradient) complete_tangent(ws, node.input, {first, first + count});
        };
        if (node.map == Map::dense)
            Dense<T>::tangent_backward(rdx, dz, rdz, ws.layout.weight_transposed(ws.transposed, node),
                                       ws.layout.weight_transposed(ws.direction_transposed, node), rows,
                                       node.adds_gradient, complete);
        else if (node.map == Map::softmax)
            Softmax<T>::tangent_backward(rdx, ws.a(node.output), ws.rz(node.output), dz, rdz, rows,
                                         node.adds_gradient, complete);
        else
            pass_through<T>(rdx, rdz, rows, node.adds_gradient, complete);
    });
}

// sums[r] (+)= factor times row r of a times row r of b; what pads them does not count.
template <class T>
void add_row_products(T* sums, Panels<const T> a, Panels<const T> b, T factor, Range rows, bool add) {
    constexpr index w = exec::lanes<T>;
    for (index r = rows.begin; r < rows.end; ++r) {
        exec::Vector<T> parts{};
        T sum = 0;
        for (index p = 0; p < a.count(); ++p) {
            const T *x = a.row(p, r), *y = b.row(p, r);
            index j = 0;
            for (; j + w <= a.used(p); j += w) parts += exec::load(x + j) * exec::load(y + j);
            for (; j < a.used(p); ++j) sum += x[j] * y[j];
        }
        for (index k = 0; k < w; ++k) sum += parts[k];
        sums[r] = add ? sums[r] + factor * sum : factor * sum;
    }
}

// sums[r] = the sum of row r of x, without what pads it.
template <class T>
void row_totals(T* sums, Panels<const T> x, Range rows) {
    constexpr index w = exec::lanes<T>;
    for (index r = rows.begin; r < rows.end; ++r) {
        exec::Vector<T> parts{};
        sums[r] = 0;
        for (index p = 0; p < x.count(); ++p) {
            index j = 0;
            for (; j + w <= x.used(p); j += w) parts += exec::load(x.row(p, r) + j);
            for (; j < x.used(p); ++j) sums[r] += x.row(p, r)[j];
        }
        for (index k = 0; k < w; ++k) sums[r] += parts[k];
    }
}

// sums[r] += the part of the second derivative of the loss, along the direction twice, that the network's own
// curvature has: at each node, what the change of its map and of its activation does to the loss. Needs
// `backward` and `tangent_forward`; overwrites rd.
template <class T>
void add_second_order(Workspace<T>& ws, T* sums, Range rows) {
    for (const Node& node : ws.plan.nodes) {
        const Panels<T> rx = ws.ra(node.input), rz = ws.rz(node.output), d = ws.d(node.output),
                        rd = ws.rd(node.output);
        if (node.map == Map::dense && rx.data != nullptr) {  // of (x + rx)(w + v): rx v
            exec::multiply<T>(rd, rx, ws.layout.weight(ws.direction, node), exec::Initial<T>::zero(), rows,
                              {0, rd.count()});
            add_row_products<T>(sums, d, rd, 2, rows, true);
        } else if (node.map == Map::softmax && rx.data != nullptr) {
            const Panels<T> change = ws.rd(node.input);
            for_stretches(rd, rows, [&](Range r) { exec::elementwise(r, Clear<T>{rd.data}); });
            Softmax<T>::tangent_backward(change, ws.a(node.output), rz, d, rd, rows, false,
                                         exec::NoEpilogue{});
            add_row_products<T>(sums, rx, change, 1, rows, true);
        }
        const bool is_straight = activation_traits<T>(node.activation).piecewise_linear;
        if (is_straight) continue;
        for_stretches(rd, rows, [&](Range r) {
            exec::elementwise(r, Clear<T>{rd.data});
            activation_tangent_backward<T>(node.activation, rd.data, rd.data, ws.da(node.output).data,
                                           ws.z(node.output).data, rz.data, r);
        });
        add_row_products<T>(sums, rz, rd, 1, rows, true);
    }
}

}  // namespace fnn::FNN_ISA::net
