#include "cuda/tensors.h"

#include <vector>

#include "cuda/runtime.h"
#include "optim/update.h"

namespace fnn::FNN_ISA::device {

// One tensor: its numbers are those from `first` on in a row of all of its group.
template <class T>
struct Member {
    optim::Stretch<T> numbers;
    index first;
};

constexpr int threads = 256, per_thread = 4;

// All tensors of a group by one launch: thread t of a block takes every 256th number of the block's 1024.
template <class T, class Rule>
__global__ void __launch_bounds__(threads)
    step_kernel(Rule rule, const Member<T>* members, index count, index n) {
    index number = index(blockIdx.x) * (threads * per_thread) + threadIdx.x;
    index m = 0, end = count;  // the last that begins at or before the number
    while (end - m > 1) {
        const index middle = m + (end - m) / 2;
        (members[middle].first <= number ? m : end) = middle;
    }
    for (int k = 0; k < per_thread && number < n; ++k, number += threads) {
        while (m + 1 < count && members[m + 1].first <= number) ++m;
        const optim::Stretch<T>& s = members[m].numbers;
        optim::Apply<T, Rule>{
            rule, s.parameters, s.states[0], s.states[1], s.states[2], s.gradient}(number - members[m].first);
    }
}

// f(group, its first tensor, how many) for those that are not left alone.
template <class T, class F>
void for_groups(const Step<T>& now, const F& f) {
    index begin = 0;
    for (const Group* group = now.groups; group < now.groups + now.n_groups; ++group) {
        if (!group->frozen && group->end > begin) f(*group, begin, group->end - begin);
        begin = group->end;
    }
}

// A stream as the caller numbers it: to CUDA 1 and 2 are the two default streams.
Stream stream_of(void* number) {
#ifdef __CUDACC__
    return Stream(number);
#else
    return Stream(reinterpret_cast<std::uintptr_t>(number) <= 2 ? nullptr : number);
#endif
}

// Nothing is needed; what is not computed here is refused before anything has changed.
template <class T>
std::size_t step_scratch(const Step<T>& now, int) {
    for_groups(now, [&](const Group& group, index first, index count) {
        if (needs_whole_tensors(group.update.kind))
            throw std::invalid_argument(expected("optimizer", "an elementwise rule for parameters on a GPU",
                                                 "one that needs whole tensors"));
        for (const Segment<T>* s = now.segments.list + first; s < now.segments.list + first + count; ++s) {
            if (s->parameter_places.dims != 0)
                throw std::invalid_argument(
                    expected("params", "arrays without gaps on a GPU", "one of other strides"));
            if (s->gradient_places.dims != 0)
                throw std::invalid_argument(expected("grads",
                                                     "gradients in the memory order of their parameters "
                                                     "on a GPU",
                                                     "one of other strides"));
        }
    });
    return 0;
}

// Gradients are taken as they are: what maps them is not there for a device.
template <class T>
void step(const Step<T>& now, int, Crew&) {
    Stream stream = stream_of(now.stream);
    std::vector<Member<T>> all;
    for_groups(now, [&](const Group&, index first, index count) {
        index numbers = 0;
        for (const Segment<T>* s = now.segments.list + first; s < now.segments.list + first + count; ++s) {
            all.push_back(
                {{s->parameters, s->gradient, {s->states[0], s->states[1], s->states[2]}}, numbers});
            numbers += s->length;
        }
    });
    Memory memory(stream);
    const Member<T>* members = memory.copy_of(all.data(), index(all.size()));
    for_groups(now, [&](const Group& group, index first, index count) {
        const index n = now.segments.starts[first + count] - now.segments.starts[first];
        if (n > 0)
            optim::with_update_rule<T>(group.update, now.step - group.missed, [&](const auto& rule) {
                launch(stream, step_kernel<T, std::decay_t<decltype(rule)>>,
                       dim3(unsigned(exec::divide_up(n, threads * per_thread))), dim3(threads), 0, rule,
                       members, count, n);
            });
        members += count;
    });
}

template <class T>
void fill_steps(LoopsOf<T>& to) {
    to.step_scratch = step_scratch<T>;
    to.step = step<T>;
}

template void fill_steps(LoopsOf<float>&);
template void fill_steps(LoopsOf<double>&);

}  // namespace fnn::FNN_ISA::device
