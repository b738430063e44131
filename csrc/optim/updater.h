// Steps of an optimizer on tensors in groups, each with a rule of its own.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "exec/memory.h"
#include "optim/loops.h"
#include "optim/rows.h"

namespace fnn {

// The rule of a group, none where it is left alone, and those of its numbers that change from step to step.
struct GroupUpdate {
    std::optional<UpdateSpec> update;
    std::vector<Schedule> schedules;
};

class Updater {
   public:
    Updater(const std::vector<TensorView>& tensors, const std::vector<int>& group_of, int n_groups);

    int n_groups() const { return n_groups_; }
    std::size_t n_tensors() const { return missed.size(); }

    // With as many values of each schedule as there are steps ahead.
    void set_updates(std::vector<GroupUpdate> updates, index ahead);
    void set_rates(const std::vector<double>& rates);  // of each group
    // states[k][tensor]
    void set_states(const std::vector<std::vector<VectorView>>& states);

    index steps = 0;            // that have been taken
    std::vector<index> missed;  // by each tensor: those in which it had no part

    // A step is these two. `begin` may fail, and changes nothing; throws std::invalid_argument. `update` does
    // not fail. Tensors that are not present are left alone, as if there were no step.
    void begin(const Loops& loops, const std::vector<GradientView>& gradients, std::vector<bool> present);
    void update(const Loops& loops, const GradientMap& map);

    const std::vector<bool>& present() const { return present_; }

    // Instead of those with which the step began.
    void replace_gradients(const std::vector<void*>& vectors);

    template <class T>
    struct Groups : Row<T> {
        std::vector<Group> groups;
    };
    template <class T>
    struct Part : Groups<T> {
        std::vector<std::size_t> group_of;  // of each of its groups, among all
    };
    template <class T>
    struct All : Groups<T> {
        Part<T> part;  // of a step in which some tensors have no part, or had none in an earlier one
        Arena arena;
        void* scratch = nullptr;  // of a step, in the arena
        Crew crew;

        // f(segment, tensor, its group)
        template <class F>
        void for_tensors(const F& f) {
            for (std::size_t g = 0, s = 0; g < this->groups.size(); ++g)
                for (; index(s) < this->groups[g].end; ++s)
                    f(this->segments[s], this->tensors[s], this->groups[g]);
        }
    };

    template <class F>
    void for_types(const F& f) {
        all_.for_types(f);
    }

   private:
    void check_states();
    void check_schedules() const;
    void take_part();
    void set_numbers_of_step();
    template <class T>
    Step<T> step_of(const All<T>& all, const Loops& loops, const GradientMap& map) const;

    int n_groups_;
    Both<All> all_;
    std::vector<GroupUpdate> updates_;
    index first_ = 0, end_ = 0;  // the steps for which they have values
    bool states_are_checked_ = false;
    std::vector<bool> present_;
    bool in_part_ = false;  // whether the step is of `part`
};

}  // namespace fnn
