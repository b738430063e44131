// What the drop-in does around the update of a step.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "bindings/tensors.h"

namespace fnn::bindings {

// One number for each number of all tensors, as a vector for each tensor in the order of its counting.
struct Buffer {
    std::vector<py::array> arrays;
    std::vector<void*> data;

    bool empty() const { return arrays.empty(); }
};

// An updater with what is done before and after its update. A step is one call, whole or not made at all:
// what may fail comes first, and no signal comes between.
class Around : public Shared {
   public:
    explicit Around(std::shared_ptr<Updater> updater);

    bool maximize = false;
    std::optional<double> clip_norm, clip_value, clip_units;
    index unit_axis = -1;
    bool skip_nonfinite = false;
    index accumulate = 1;
    std::optional<double> ema;
    std::optional<index> swa;
    std::optional<std::pair<index, double>> lookahead;  // steps, alpha
    std::optional<double> sam;

    index skipped = 0;
    index accumulated = 0;      // calls in the mean of gradients
    index averaged = 0;         // steps in the averages
    index since_lookahead = 0;  // steps after the last time
    std::optional<double> grad_norm;

    void step(const py::object& grads);
    void ascend(const py::object& grads);
    // Back from where `ascend` went, without a step.
    void descend();

    // The parameters hold their averages from `show_averages` to `show_parameters`.
    void show_averages();
    void show_parameters();

    // Throws std::runtime_error unless the parameters hold their own values.
    void check_at_rest(const char* what) const;

    // What a later step needs, by name: the list of the vectors of each buffer, None in that of gradients for
    // a tensor that has had none.
    py::dict buffers();
    void set_buffer(const std::string& name, const py::list& arrays);

   private:
    template <class T>
    struct Row {
        std::vector<Segment<T>> segments;
        std::vector<index> starts;
        std::vector<std::size_t> tensors;  // of each segment
        std::vector<Units> units;

        Segments<T> view() const { return {segments.data(), starts.data(), index(segments.size())}; }
    };
    struct Rows {
        Row<float> float32;
        Row<double> float64;

        template <class F>
        void for_types(const F& f) {
            f(float32);
            f(float64);
        }
        // To be called before a pass by which those that they came with are gone.
        void drop_gradients();
    };

    void prepare(const py::object& grads);
    void collect();
    void forget();
    void reserve(Buffer& buffer) const;
    void use_as_gradient(const Buffer& buffer);
    double norm();
    void pass(Rows& rows, PassKind kind, const Buffer& buffer, double weight = 1, GradientMap map = {});
    void clip_each_unit();
    void average();
    void skip(double norm);
    void restore();

    std::shared_ptr<Updater> updater_;
    Arena arena_;
    Rows all_, active_;  // all tensors, and those that are not left alone
    Rows moved_;         // by ascend
    Buffer gradient_, average_, slow_, original_;
    std::vector<bool> contributes_;  // of each tensor, whether the mean of gradients has one of it
    bool has_slow_ = false;          // or it is to be made from the parameters
    bool averages_by_ema_ = false;   // the averages so far
    bool ascended_ = false;
    bool showing_ = false, shows_originals_ = false;  // the latter where there are no averages yet
    bool has_no_direction_ = false;                   // ascend met a gradient that could not be followed
};

}  // namespace fnn::bindings
