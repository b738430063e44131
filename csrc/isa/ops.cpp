// Networks: the maps of every op.
#include "net/ops/maps_by_op.h"

namespace fnn::FNN_ISA::net {

template struct Maps<float>;
template struct Maps<double>;

}  // namespace fnn::FNN_ISA::net
