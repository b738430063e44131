#include "net/shapes.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace fnn {

namespace {

[[noreturn]] void refuse(const std::string& expected, const std::string& got) {
    throw std::invalid_argument("expected " + expected + ", got " + got);
}

void check_groups(index groups, index features) {
    if (groups < 1 || features % groups != 0)
        throw std::invalid_argument("groups: expected a divisor of " + std::to_string(features) +
                                    " features, got " + std::to_string(groups));
}

void check_slice(const OpSpec& op, index features) {
    if (!(op.first >= 0 && op.count >= 1 && op.first + op.count <= double(features)))
        refuse("a slice of " + std::to_string(features) + " features",
               std::to_string(op.count) + " from " + std::to_string(op.first) + " on");
}

// One shape for all inputs; for what puts channels side by side, positions alone.
void check_alike(const OpSpec& op, const std::vector<Shape>& inputs) {
    for (const Shape& other : inputs) {
        const bool alike = other.has_positions_of(inputs.front()) &&
                           (op.kind == OpKind::concatenate || other.channels == inputs.front().channels);
        if (!alike && other.positions() == 1 && inputs.front().positions() == 1)
            refuse("inputs of one width", std::to_string(inputs.front().channels) + " and " +
                                              std::to_string(other.channels) + " features");
        if (!alike) refuse("inputs of one shape", inputs.front().text() + " and " + other.text());
    }
}

Shape with_channels(Shape shape, index channels) {
    shape.channels = channels;
    return shape;
}

// So many vectors of the units in a recurrent layer's input.
index gates_of(const OpSpec& op) {
    switch (op.kind) {
        case OpKind::rnn:
            return 1;
        case OpKind::gru:
            return 3;
        case OpKind::lstm:
            return 4;
        default:
            return 0;
    }
}

// Of an op that has one input, and lengths as the second if examples come with them.
void check_lengths(const std::vector<Shape>& inputs) {
    if (inputs.size() > 1 && inputs.back().size() != 1)
        refuse("one number for the length of an example", inputs.back().text());
}

// Lengths, if there are any, are one number of each example.
Shape walked(const OpSpec& op, index units, const std::vector<Shape>& inputs) {
    const Shape& first = inputs.front();
    check_size("units", units);
    if (first.height != 1) refuse("a sequence", first.text());
    if (first.channels != gates_of(op) * units)
        refuse(std::to_string(gates_of(op) * units) + " channels for the gates",
               std::to_string(first.channels));
    check_lengths(inputs);
    return {1, op.last != 0 ? 1 : first.width, units};
}

// Queries, keys and values side by side, or the queries and the others apart; and maybe lengths.
Shape attended(const OpSpec& op, const std::vector<Shape>& inputs) {
    const Shape& first = inputs.front();
    const std::size_t tensors = op.cross != 0 ? 2 : 1;
    const index heads = index(op.heads), parts = op.cross != 0 ? 1 : 3, units = first.channels / parts;
    if (inputs.size() < tensors || inputs.size() > tensors + 1)
        refuse(std::to_string(tensors) + " inputs, or one more of lengths", std::to_string(inputs.size()));
    if (first.channels % parts != 0)
        refuse("queries, keys and values side by side", std::to_string(first.channels) + " channels");
    if (op.cross != 0 && inputs[1].channels != 2 * units)
        refuse("keys and values of " + std::to_string(2 * units) + " channels, twice those of queries",
               std::to_string(inputs[1].channels));
    if (heads < 1 || units % heads != 0)
        refuse("a number of heads that divides " + std::to_string(units) + " channels",
               std::to_string(heads));
    if (inputs.size() > tensors && inputs.back().size() != 1)
        refuse("one number for the length of an example", inputs.back().text());
    return with_channels(first, units);
}

void check_heads(const OpSpec& op, index channels) {
    const index heads = index(op.heads), count = index(op.count);
    if (count < 1 || count > channels)
        refuse("to turn 1 to " + std::to_string(channels) + " columns", std::to_string(count));
    if (heads < 1 || count % (2 * heads) != 0)
        refuse("a number of heads of even width in " + std::to_string(count) + " columns",
               std::to_string(heads));
}

Shape reshaped(const OpSpec& op, const Shape& from) {
    const Shape to{index(op.height), index(op.width), index(op.channels)};
    check_size("height", to.height);
    check_size("width", to.width);
    check_size("channels", to.channels);
    check_numbers(to);
    if (to.size() != from.size())
        refuse("a shape of " + std::to_string(from.size()) + " numbers, as " + from.text() + " has",
               to.text() + " of " + std::to_string(to.size()));
    return to;
}

// Axis k of the output is axis axes[k] of the input.
Shape permuted(const OpSpec& op, const Shape& from) {
    const index sizes[] = {from.height, from.width, from.channels};
    const double axes[] = {op.height, op.width, op.channels};
    bool is_there[3] = {};
    for (const double axis : axes) {
        if (axis != 0 && axis != 1 && axis != 2) refuse("axes 0, 1 and 2", std::to_string(axis));
        is_there[index(axis)] = true;
    }
    for (const bool each : is_there)
        if (!each) refuse("each axis once", "one of them twice");
    return {sizes[index(op.height)], sizes[index(op.width)], sizes[index(op.channels)]};
}

// How many windows there are on an axis.
index windows_of(index length, double size, double stride, double padding) {
    check_size("window", index(size));
    check_size("stride", index(stride));
    if (padding < 0 || 2 * padding > size)
        refuse("a padding of at most half a window of " + std::to_string(index(size)),
               std::to_string(index(padding)));
    if (double(length) + 2 * padding < size)
        refuse("windows of at most " + std::to_string(length) + " positions", std::to_string(index(size)));
    return (length + 2 * index(padding) - index(size)) / index(stride) + 1;
}

Shape pooled(const OpSpec& op, const Shape& from) {
    if (op.height > 0 || op.width > 0) {
        check_size("height", index(op.height));
        check_size("width", index(op.width));
        return {index(op.height), index(op.width), from.channels};
    }
    return {windows_of(from.height, op.kernel_height, op.stride_height, op.padding_height),
            windows_of(from.width, op.kernel_width, op.stride_width, op.padding_width), from.channels};
}

void check_channels(index groups, index channels, const std::string& which) {
    if (groups < 1 || channels % groups != 0)
        refuse("groups that divide the " + std::to_string(channels) + " channels " + which,
               std::to_string(groups));
}

// Positions of what a filter makes of `in`, which name it.
index filtered(const std::string& name, index in, double kernel, double stride, double dilation,
               double before, double after, double spacing) {
    for (const double number : {kernel, stride, dilation, spacing}) check_size(name, index(number));
    if (spacing > 1 && stride > 1) refuse("a stride or a spacing", "both");
    const index padded = index(before) + (in - 1) * index(spacing) + 1 + index(after);
    const index covered = index(dilation) * (index(kernel) - 1) + 1;
    if (before < 0 || after < 0 || covered > padded)
        refuse("a kernel that fits into the " + name + " of " + std::to_string(padded) + ", padding included",
               "one that covers " + std::to_string(covered));
    return (padded - covered) / index(stride) + 1;
}

Shape convolved(const OpSpec& op, index units, const Shape& from) {
    check_size("channels", units);
    check_channels(index(op.groups), from.channels, "that come in");
    check_channels(index(op.groups), units, "that come out");
    const Shape to{filtered("height", from.height, op.kernel_height, op.stride_height, op.dilation_height,
                            op.top, op.bottom, op.spacing_height),
                   filtered("width", from.width, op.kernel_width, op.stride_width, op.dilation_width, op.left,
                            op.right, op.spacing_width),
                   units};
    const double taps = op.kernel_height * op.kernel_width,
                 channels = double(from.channels / index(op.groups));
    if (taps * channels > double(largest_size))
        refuse("a kernel of at most " + std::to_string(largest_size) +
                   " numbers for each channel that comes out",
               "one of " + std::to_string(taps * channels));
    return to;
}

// Sizes of 0: as many as come in.
Shape augmented(const OpSpec& op, const Shape& from) {
    const index margin = index(op.margin);
    Shape to = from;
    if (op.height != 0 && from.height > 1) to.height = index(op.height);
    if (op.width != 0) to.width = index(op.width);
    const index most_height = from.height > 1 ? from.height + 2 * margin : 1;
    if (margin < 0 || op.hole < 0 || to.height < 1 || to.height > most_height || to.width < 1 ||
        to.width > from.width + 2 * margin)
        refuse("a part of " + from.text() + " and " + std::to_string(margin) + " positions around it",
               to.text());
    return to;
}

}  // namespace

std::string Shape::text() const {
    std::string text = "(";
    if (height > 1) text += std::to_string(height) + ", ";
    const bool has_positions = height > 1 || width > 1;
    if (has_positions) text += std::to_string(width) + ", ";
    return text + std::to_string(channels) + (has_positions ? ")" : ",)");
}

void check_size(const std::string& name, index size) {
    if (size < 1 || size > largest_size)
        throw std::invalid_argument(name + ": expected 1 to " + std::to_string(largest_size) + ", got " +
                                    std::to_string(size));
}

void check_numbers(const Shape& shape) {
    if (double(shape.height) * double(shape.width) * double(shape.channels) > double(largest_size))
        refuse("examples of at most " + std::to_string(largest_size) + " numbers", "shape " + shape.text());
}

Shape shape_of(const OpSpec& op, index units, const std::vector<Shape>& inputs) {
    const Shape& first = inputs.front();
    switch (op.kind) {
        case OpKind::dense:
        case OpKind::weight_norm:
            check_size("units", units);
            return with_channels(first, units);
        case OpKind::convolution:
            return convolved(op, units, first);
        case OpKind::evaluation:
            check_size("units", units);
            return with_channels(first, units);
        case OpKind::equilibrium:
            if (!inputs[1].has_positions_of(first)) refuse("a block of its positions", inputs[1].text());
            return inputs[1];
        case OpKind::neural_ode:
            if (!inputs[1].has_positions_of(first) || inputs[1].channels != first.channels)
                refuse("a block that puts out " + first.text() + ", as comes in", inputs[1].text());
            return first;
        case OpKind::embedding:
            if (first.channels != 1) refuse("one column of codes", std::to_string(first.channels));
            check_size("categories", index(op.categories));
            check_size("units", units);
            return with_channels(first, units);
        case OpKind::spread:
            check_size("copies", index(op.copies));
            return with_channels(first, first.channels * index(op.copies));
        case OpKind::slice:
            check_slice(op, first.channels);
            return with_channels(first, index(op.count));
        case OpKind::concatenate: {
            check_alike(op, inputs);
            index sum = 0;
            for (const Shape& input : inputs) sum += input.channels;
            return with_channels(first, sum);
        }
        case OpKind::group_norm:
            check_groups(index(op.groups), first.channels);
            return first;
        case OpKind::reshape:
            return reshaped(op, first);
        case OpKind::permute:
            return permuted(op, first);
        case OpKind::max_pool:
        case OpKind::avg_pool:
            return pooled(op, first);
        case OpKind::sum_positions:
        case OpKind::mean_positions:
        case OpKind::max_positions:
            check_lengths(inputs);
            return {1, 1, first.channels};
        case OpKind::augment:
            return augmented(op, first);
        case OpKind::rnn:
        case OpKind::gru:
        case OpKind::lstm:
            return walked(op, units, inputs);
        case OpKind::attention:
            return attended(op, inputs);
        case OpKind::rotary:
            check_heads(op, first.channels);
            return first;
        default:
            check_alike(op, inputs);
            return first;
    }
}

index matrix_rows(const OpSpec& op, const std::vector<Shape>& inputs) {
    const index channels = inputs.front().channels;
    if (op.kind == OpKind::embedding) return index(op.categories);
    if (op.kind == OpKind::positions) return inputs.front().positions();
    if (op.kind == OpKind::convolution)
        return index(op.kernel_height * op.kernel_width) * (channels / index(op.groups));
    return channels / std::max(gates_of(op), index{1});
}

index vector_length(const OpSpec& op, const Shape& output) {
    return output.channels * std::max(gates_of(op), index{1});
}

double work_of(const OpSpec& op, const std::vector<Shape>& inputs, const Shape& output, index rows) {
    if (gates_of(op) > 0) return double(inputs.front().size()) * double(rows);
    const double size = double(output.size());
    if (op.kind == OpKind::attention) return 2 * size * double(inputs[op.cross != 0 ? 1 : 0].positions());
    const bool is_product = rows > 0 && op.kind != OpKind::embedding && op.kind != OpKind::positions;
    return size * (is_product ? double(rows) : 1);
}

}  // namespace fnn
