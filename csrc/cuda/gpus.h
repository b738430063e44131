// Which GPUs there are, and on which of them a thread computes: what isa/device.h says.
#pragma once

#include <string>

namespace fnn::FNN_ISA::device {

int count_gpus();
std::string model_of_gpu(int number);
void enter_gpu(int number);
void leave_gpu();
int owner_of(const void* address);

}  // namespace fnn::FNN_ISA::device
