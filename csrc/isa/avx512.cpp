// Everything below the bindings, compiled with the flags that setup.py gives to this instruction set.
#include "isa/library.h"
